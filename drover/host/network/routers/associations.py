"""What charon reports about its associations, reduced to what decisions need: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drover.host.network.routers.connections import Form, agreed_form


@dataclass(frozen=True, slots=True)
class Child:
    """An installed ESP association."""

    name: str
    number: str
    form: Form
    age: int
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    last_in: int | None


@dataclass(frozen=True, slots=True)
class Association:
    """One IKE association with its installed children. ``age`` in seconds since it was established."""

    connection: str
    number: str
    established: bool
    age: int
    children: tuple[Child, ...]


def read_associations(events: Iterable[Mapping[str, Any]]) -> dict[str, list[Association]]:
    """The `list-sa` events by connection; of each connection the one that carries traffic first, newest first."""
    found: dict[str, list[Association]] = {}
    for event in events:
        for name, sa in event.items():
            found.setdefault(name, []).append(_association(name, sa))
    for each in found.values():
        each.sort(key=lambda one: (not one.established, not one.children, one.age))
    return found


def _association(name: str, sa: Mapping[str, Any]) -> Association:
    children = [
        Child(
            name=str(child.get("name", "")),
            number=str(child.get("uniqueid", "")),
            form=agreed_form(child),
            age=int(child.get("install-time", 0)),
            bytes_in=int(child.get("bytes-in", 0)),
            bytes_out=int(child.get("bytes-out", 0)),
            packets_in=int(child.get("packets-in", 0)),
            packets_out=int(child.get("packets-out", 0)),
            last_in=int(child["use-in"]) if child.get("use-in") else None,
        )
        for child in sa.get("child-sas", {}).values()
        if child.get("state") in ("INSTALLED", "REKEYING")
    ]
    children.sort(key=lambda child: child.age)
    return Association(
        connection=name,
        number=str(sa.get("uniqueid", "")),
        established=sa.get("state") in ("ESTABLISHED", "REKEYING"),
        age=int(sa.get("established", 0)),
        children=tuple(children),
    )
