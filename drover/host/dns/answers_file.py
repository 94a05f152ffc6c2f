"""Records from a file instead of an environment, in the form of Rancher 1.6's answers file (JSON or YAML)."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
import yaml

from drover.common.errors import SettingsError
from drover.host.dns.records import Answer, absolute, is_name, pack_address
from drover.host.dns.resolv_conf import usable
from drover.host.dns.view import Shared, View

DEFAULT = "default"


class ManyAnswers(msgspec.Struct, frozen=True):
    answer: tuple[str, ...]
    ttl: int | None = None


class OneAnswer(msgspec.Struct, frozen=True):
    answer: str
    ttl: int | None = None


class Section(msgspec.Struct, frozen=True):
    """What one client address sees, or everybody in the section ``default``."""

    search: tuple[str, ...] | None = None
    recurse: tuple[str, ...] | None = None
    a: dict[str, ManyAnswers] | None = None
    cname: dict[str, OneAnswer] | None = None
    ptr: dict[str, OneAnswer] | None = None
    txt: dict[str, ManyAnswers] | None = None


def load(path: Path, shared: Shared, *, excluded: tuple[str, ...]) -> None:
    """Replace all records by those of the file. Raises SettingsError, and leaves everything as it was, for a file
    that cannot be used.
    """
    try:
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        sections = msgspec.convert(document or {}, dict[str, Section])
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise SettingsError(f"answers file {path}: {error}") from error
    records = {address: _records(section) for address, section in sections.items()}
    default = sections.get(DEFAULT, Section())
    for name in set(shared.records) | set(records.get(DEFAULT, {})):
        shared.set(name, records.get(DEFAULT, {}).get(name))
    shared.default.upstreams = usable(default.recurse or (), excluded=excluded)
    clients = {
        address: View(
            shared,
            search=tuple(absolute(each) for each in section.search or ()),
            upstreams=usable(section.recurse or (), excluded=excluded),
            records=records[address],
        )
        for address, section in sections.items()
        if address != DEFAULT
    }
    for view in shared.views - {shared.default}:
        view.leave()
    shared.views.update(clients.values())
    shared.clients.clear()
    shared.clients.update(clients)
    shared.differs()


def _records(section: Section) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for name, many in (section.a or {}).items():
        addresses = tuple(each for each in map(pack_address, many.answer) if each is not None)
        _merge(found, absolute(name), Answer(addresses=addresses, ttl=many.ttl))
    for name, one in (section.cname or {}).items():
        if is_name(absolute(one.answer)):
            _merge(found, absolute(name), Answer(alias=absolute(one.answer), ttl=one.ttl))
    for name, one in (section.ptr or {}).items():
        if is_name(absolute(one.answer)):
            _merge(found, _reverse(name), Answer(pointers=(absolute(one.answer),), ttl=one.ttl))
    for name, many in (section.txt or {}).items():
        _merge(found, absolute(name), Answer(texts=many.answer, ttl=many.ttl))
    return found


def _merge(found: dict[str, Answer], name: str, more: Answer) -> None:
    had = found.get(name)
    if had is None:
        found[name] = more
        return
    found[name] = Answer(
        addresses=had.addresses or more.addresses,
        alias=had.alias or more.alias,
        ttl=more.ttl if had.ttl is None else had.ttl,
        pointers=had.pointers or more.pointers,
        texts=had.texts or more.texts,
    )


def _reverse(name: str) -> str:
    """An address stands for its name in ``in-addr.arpa``."""
    try:
        return absolute(ipaddress.ip_address(name).reverse_pointer)
    except ValueError:
        return absolute(name)
