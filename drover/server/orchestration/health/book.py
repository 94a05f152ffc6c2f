"""Every checked container and its votes, in memory: read once, then kept current from the commits.

A vote is a row ``healthcheckInstanceHostMap``. It counts only for the start of the container that it was given for,
so a restart needs no write to make the votes of the former life worthless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drover.server.store import Condition as Where
from drover.server.store import Query, Record, Store, Touched

INSTANCE = "instance"
REGISTRATION = "healthcheckInstance"
MAP = "healthcheckInstanceHostMap"

HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
INITIALIZING = "initializing"
REINITIALIZING = "reinitializing"
RUNNING = frozenset({"running", "updating-running"})
_GONE = frozenset({"removed", "purging", "purged"})


@dataclass(frozen=True, slots=True)
class Check:
    """What the server itself needs of a health check. Times in milliseconds, None where the user gave none."""

    strategy: str = "recreate"
    interval: int | None = None
    initializing_timeout: int | None = None
    reinitializing_timeout: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Check:
        return cls(
            strategy=str(given.get("strategy") or "recreate"),
            interval=given.get("interval"),
            initializing_timeout=given.get("initializingTimeout"),
            reinitializing_timeout=given.get("reinitializingTimeout"),
        )


@dataclass(slots=True)
class Vote:
    """One host's say about a container. ``checker`` is the container that gave it; None: nobody has voted yet."""

    record: Record
    host_id: int
    health: str
    timestamp: int
    start_count: int
    checker: int | None

    @classmethod
    def of(cls, record: Record) -> Vote:
        checker = record["checkerId"]
        return cls(
            record=Record(record.type, record.id, {"uuid": record.uuid, "state": record.state}),
            host_id=int(record["hostId"] or 0),
            health=str(record["healthState"] or INITIALIZING),
            timestamp=int(record["externalTimestamp"] or 0),
            start_count=int(record["startCount"] or 0),
            checker=None if checker is None else int(checker),
        )


@dataclass(slots=True)
class Target:
    """A checked container. ``record`` holds what plans and processes need of its row."""

    record: Record
    check: Check
    registration_id: int | None = None
    votes: dict[int, Vote] = field(default_factory=dict)

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def account_id(self) -> int:
        return int(self.record["accountId"] or 0)

    @property
    def health(self) -> str | None:
        value = self.record["healthState"]
        return None if value is None else str(value)

    @property
    def running(self) -> bool:
        return self.record.state in RUNNING

    @property
    def start_count(self) -> int:
        return int(self.record["startCount"] or 0)

    def verdict_of(self, vote: Vote) -> str:
        """What the vote says about the present start of the container."""
        return vote.health if vote.start_count == self.start_count else INITIALIZING

    def voted(self, health: str) -> bool:
        return any(self.verdict_of(vote) == health for vote in self.votes.values())


_KEPT = (
    "uuid",
    "kind",
    "name",
    "state",
    "accountId",
    "hostId",
    "serviceId",
    "stackId",
    "startCount",
    "system",
    "deploymentUnitUuid",
)
_KEPT_HEALTH = ("healthState", "healthUpdated", "transitioning", "transitioningMessage", "transitioningProgress")


class Book:
    """Await :meth:`ready` before asking."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._targets: dict[int, Target] = {}
        self._by_uuid: dict[str, Target] = {}
        self._by_map: dict[int, Target] = {}
        self._loaded = False
        self._loading = asyncio.Lock()
        self._missed: list[Touched] = []
        self._changed: list[Callable[[Target], None]] = []
        self._gone: list[Callable[[Target], None]] = []
        self.orphans: list[Record] = []
        store.listen(self._hear)

    def on_change(self, callback: Callable[[Target], None]) -> None:
        """Call for every target that is loaded, appears, or changes itself or in its votes."""
        self._changed.append(callback)
        for target in self._targets.values():
            callback(target)

    def on_gone(self, callback: Callable[[Target], None]) -> None:
        """Call for every target that was removed; its rows are left to whoever listens."""
        self._gone.append(callback)

    async def ready(self) -> None:
        """Read everything, once."""
        if not self._loaded:
            async with self._loading:
                if not self._loaded:
                    await self._load()

    async def _load(self) -> None:
        checked = Query(INSTANCE, (Where("healthState", "notnull"), Where("removed", "null")))
        for record in await self._store.find(checked):
            if record["healthCheck"]:
                self._see_instance(record)
        for record in await self._store.find_by(REGISTRATION, removed=None):
            self._see_registration(record)
        for record in await self._store.find_by(MAP, removed=None):
            self._see_map(record)
        self._loaded = True
        missed, self._missed = self._missed, []
        self._hear(missed)

    # Asking

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def __len__(self) -> int:
        return len(self._targets)

    def get(self, instance_id: int) -> Target | None:
        return self._targets.get(instance_id)

    def by_uuid(self, instance_uuid: str) -> Target | None:
        return self._by_uuid.get(instance_uuid)

    def by_map_uuid(self, map_uuid: str) -> tuple[Target, Vote] | None:
        """For checkers of old that name the map itself: too few to keep an index for."""
        for target in self._by_map.values():
            for vote in target.votes.values():
                if vote.record.uuid == map_uuid:
                    return target, vote
        return None

    def states(self, instance_id: int) -> list[dict[str, Any]]:
        """What the API shows as ``healthcheckStates``; host ids are database ids."""
        target = self._targets.get(instance_id)
        if target is None:
            return []
        return [{"hostId": vote.host_id, "healthState": target.verdict_of(vote)} for vote in target.votes.values()]

    # Following the commits

    def _hear(self, touched: Sequence[Touched]) -> None:
        if not self._loaded:
            self._missed.extend(row for row in touched if row.type in (INSTANCE, REGISTRATION, MAP))
            return
        for row in touched:
            if row.type == INSTANCE:
                self._instance(row)
            elif row.type == MAP:
                self._map(row)
            elif row.type == REGISTRATION and row.after is not None:
                self._see_registration(row.after)

    def _instance(self, row: Touched) -> None:
        known = self._targets.get(row.id)
        after = row.after
        if after is None or after["removed"] or after.state in _GONE:
            if known is not None:
                del self._targets[row.id]
                self._by_uuid.pop(known.record.uuid, None)
                for vote in known.votes.values():
                    self._by_map.pop(vote.record.id, None)
                for gone in self._gone:
                    gone(known)
            return
        if (
            after["healthState"] is None
            or not after["healthCheck"]
            or (known is not None and not _differs(known.record, after))
        ):
            return
        self._tell(self._see_instance(after))

    def _see_instance(self, record: Record) -> Target:
        kept = Record(INSTANCE, record.id, {name: record[name] for name in (*_KEPT, *_KEPT_HEALTH)})
        target = self._targets.get(record.id)
        if target is None:
            target = Target(kept, Check.of(record["healthCheck"]))
            self._targets[record.id] = self._by_uuid[record.uuid] = target
        else:
            target.record = kept
            target.check = Check.of(record["healthCheck"])
        return target

    def _see_registration(self, record: Record) -> None:
        target = self._targets.get(int(record["instanceId"] or 0))
        if target is not None and not record["removed"]:
            target.registration_id = record.id
        elif target is None and not record["removed"]:
            self.orphans.append(record)

    def _map(self, row: Touched) -> None:
        target = self._by_map.get(row.id)
        if row.after is not None and not row.after["removed"]:
            target = self._see_map(row.after)
        elif target is not None:
            del self._by_map[row.id]
            target.votes = {host: vote for host, vote in target.votes.items() if vote.record.id != row.id}
        if target is not None:
            self._tell(target)

    def _see_map(self, record: Record) -> Target | None:
        target = self._targets.get(int(record["instanceId"] or 0))
        if target is None:
            self.orphans.append(record)
            return None
        vote = Vote.of(record)
        target.votes[vote.host_id] = vote
        self._by_map[record.id] = target
        return target

    def _tell(self, target: Target) -> None:
        for changed in self._changed:
            changed(target)


def _differs(kept: Record, record: Record) -> bool:
    return any(kept[name] != record[name] for name in (*_KEPT, *_KEPT_HEALTH))
