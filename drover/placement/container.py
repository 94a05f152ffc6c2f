"""A container as placement sees it: what it occupies on a host, and what others may want to be near to or far from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - the notation of "every address of the host", nothing is bound here

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port that a container publishes on its host. ``public`` is 0 where Docker may choose one."""

    address: str
    public: int
    private: int
    protocol: str

    def collides(self, other: HostPort) -> bool:
        """Whether both cannot be published on one host. Every address includes each single one."""
        return (
            self.public != 0
            and self.public == other.public
            and self.protocol == other.protocol
            and (self.address == other.address or ANY_ADDRESS in (self.address, other.address))
        )

    def __str__(self) -> str:
        shown = f"{self.public or self.private}/{self.protocol}"
        return shown if self.address == ANY_ADDRESS else f"{self.address}:{shown}"


@dataclass(frozen=True, slots=True)
class Container:
    """One container. ``memory`` in bytes and ``milli_cpu`` are reservations; ``group`` is its service, if any.

    ``holds_ports`` is false for a stopped container: it keeps its memory but frees its ports. ``visible`` is false
    for a container in error: nobody wants to be near to it.
    """

    id: int
    uuid: str = ""
    name: str = ""
    group: int | None = None
    labels: Labels = frozenset()
    memory: int = 0
    milli_cpu: int = 0
    ports: tuple[HostPort, ...] = ()
    holds_ports: bool = True
    visible: bool = True


def labels_of(labels: Mapping[str, Any] | None) -> Labels:
    """Labels as they are compared: without regard to case."""
    return frozenset((key.lower(), str(value).lower()) for key, value in (labels or {}).items())


def parse_ports(specs: Iterable[Any] | None) -> tuple[HostPort, ...]:
    """Port specifications ``[ip:][public:]private[/protocol]``; what cannot be read is left to the API's validation."""
    return tuple(port for spec in specs or () if (port := _parse_port(str(spec))) is not None)


def _parse_port(text: str) -> HostPort | None:
    text, _, protocol = text.strip().partition("/")
    address = ANY_ADDRESS
    if text.startswith("["):
        address, _, text = text[1:].partition("]")
        text = text.removeprefix(":")
    parts = text.split(":")
    if len(parts) == 3:
        address, parts = parts[0] or ANY_ADDRESS, parts[1:]
    elif len(parts) == 2 and "." in parts[0]:
        address, parts = parts[0], ["", parts[1]]
    public, private = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if len(parts) > 2 or not private.isdecimal() or (public and not public.isdecimal()):
        return None
    return HostPort(address, int(public or 0), int(private), (protocol or "tcp").lower())
