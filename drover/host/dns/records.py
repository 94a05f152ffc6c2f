"""Records by name, and the ways to write a name."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from drover.host.dns.wire import write_name

ZONE = "rancher.internal."


@dataclass(frozen=True, slots=True)
class Answer:
    """What one name stands for: IPv4 addresses as four bytes each, or another name. Both: the name is tried first.

    ``pointers`` and ``texts`` exist in answer files alone; ``ttl`` (seconds) is None where the server's applies.
    """

    addresses: tuple[bytes, ...] = ()
    alias: str | None = None
    ttl: int | None = None
    pointers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.alias or self.pointers or self.texts)

    @property
    def texts_of_addresses(self) -> list[str]:
        return [socket.inet_ntop(socket.AF_INET, each) for each in self.addresses]


def pack_address(text: str | None) -> bytes | None:
    """Four bytes; None for what is no IPv4 address."""
    if not text:
        return None
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except OSError:
        return None


def addresses_answer(texts: Iterable[str | None]) -> Answer:
    packed = (pack_address(each) for each in texts)
    return Answer(tuple(dict.fromkeys(each for each in packed if each is not None)))


def absolute(name: str) -> str:
    """A name in lower case with exactly one dot at its end."""
    return name.lower().strip().rstrip(".") + "."


def within(name: str, *parts: str) -> str:
    """``within(ZONE, "web", "shop")`` is ``web.shop.rancher.internal.``."""
    return ".".join((*(part.lower() for part in parts), name))


def is_name(name: str) -> bool:
    """Whether the text can stand in a DNS message."""
    try:
        write_name(name)
    except ValueError:
        return False
    return True
