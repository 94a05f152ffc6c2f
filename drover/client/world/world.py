"""A replica of an environment, and what changed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.client.world.frames import Change, Frame, Full, Key
from drover.client.world.objects import Container, Environment, Host, Network, Object, Service, Stack


class OutOfStep(Exception):
    """A change that does not continue what the replica holds: connect again and ask for everything."""


@dataclass(frozen=True, slots=True)
class Delta:
    """The difference one frame made: per object what it was and what it is (None: did not exist, is gone)."""

    changes: Mapping[Key, tuple[Object | None, Object | None]] = field(default_factory=dict)
    host_changed: bool = False

    def __bool__(self) -> bool:
        return bool(self.changes) or self.host_changed

    def of(self, kind: str) -> Iterable[tuple[Any, Any]]:
        """Pairs of former and present object of one kind."""
        return (pair for key, pair in self.changes.items() if key.kind == kind)


@dataclass(slots=True)
class World:
    """All objects by kind and key. ``host`` is the uuid of the host that this replica is for."""

    epoch: str = ""
    revision: int = -1
    host: str | None = None
    containers: dict[str, Container] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    stacks: dict[str, Stack] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)

    @property
    def loaded(self) -> bool:
        """Whether anything was received yet. Never act on the emptiness of a world that is not loaded."""
        return self.revision >= 0

    @property
    def environment(self) -> Environment | None:
        return next(iter(self.environments.values()), None)

    @property
    def own_host(self) -> Host | None:
        return None if self.host is None else self.hosts.get(self.host)

    def objects(self) -> list[Object]:
        """Everything, by kind; within a kind in order of arrival."""
        return [each for table in self._tables().values() for each in table.values()]

    def apply(self, frame: Frame) -> Delta:
        """Take a frame in. Raises OutOfStep for a change that follows something else than what is held here."""
        host_changed = frame.host is not None and frame.host != self.host
        changes = self._replace(frame) if isinstance(frame, Full) else self._continue(frame)
        if frame.host is not None:
            self.host = frame.host
        self.epoch, self.revision = frame.epoch, frame.revision
        return Delta(changes, host_changed)

    def _replace(self, frame: Full) -> dict[Key, tuple[Object | None, Object | None]]:
        changes: dict[Key, tuple[Object | None, Object | None]] = {}
        tables = self._tables()
        present: dict[str, set[str]] = {kind: set() for kind in tables}
        for each in frame.objects:
            kind, key = kind_of(each), each.key
            present[kind].add(key)
            before = tables[kind].get(key)
            if before != each:
                changes[Key(kind, key)] = (before, each)
                tables[kind][key] = each
        for kind, table in tables.items():
            for key in [key for key in table if key not in present[kind]]:
                changes[Key(kind, key)] = (table.pop(key), None)
        return changes

    def _continue(self, frame: Change) -> dict[Key, tuple[Object | None, Object | None]]:
        if (frame.epoch, frame.since) != (self.epoch, self.revision):
            raise OutOfStep(f"a change from {frame.epoch}/{frame.since} does not follow {self.epoch}/{self.revision}")
        changes: dict[Key, tuple[Object | None, Object | None]] = {}
        tables = self._tables()
        for kind, key in frame.gone:
            before = tables[kind].pop(key, None)
            if before is not None:
                changes[Key(kind, key)] = (before, None)
        for each in frame.changed:
            table = tables[kind_of(each)]
            before = table.get(each.key)
            if before != each:
                changes[Key(kind_of(each), each.key)] = (before, each)
                table[each.key] = each
        return changes

    def _tables(self) -> dict[str, dict[str, Any]]:
        return {
            "container": self.containers,
            "service": self.services,
            "stack": self.stacks,
            "host": self.hosts,
            "network": self.networks,
            "environment": self.environments,
        }


_KINDS: dict[type, str] = {
    Container: "container",
    Service: "service",
    Stack: "stack",
    Host: "host",
    Network: "network",
    Environment: "environment",
}


def kind_of(each: Object) -> str:
    """The ``metadata_kind`` of an object."""
    return _KINDS[type(each)]
