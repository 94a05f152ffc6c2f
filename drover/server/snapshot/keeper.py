"""Keeps the snapshots that somebody follows, and none else.

A snapshot is read from the database when its first follower comes, kept current from the commits, and forgotten a
while after the last one has left. A change goes out at once when none went before; those that come after it are
gathered, so that a deployment of a thousand containers is some dozens of frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from drover.client.world import Key, Object
from drover.server.snapshot.environment import Difference, Environment
from drover.server.snapshot.facts import ServiceName, state_facts, take
from drover.server.snapshot.formulas import CHECKED_IPSEC, GLOBAL, REGION
from drover.server.snapshot.linked import foreign_names, foreign_objects, neighbours
from drover.server.snapshot.load import environment_rows, local_region
from drover.server.store import Record, Store, Touched

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.1
LINGER_SECONDS = 60.0
_AT_A_TIME = 250  # objects made before other tasks have their turn, when an environment is read

Published = Callable[[Environment], None]


@dataclass(slots=True, eq=False)
class _Kept:
    """A snapshot, who holds it, and what is planned for it.

    ``neighbours`` are the environments that it shows parts of; None while nobody follows it and nobody has looked.
    """

    environment: Environment
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    linking: asyncio.Lock = field(default_factory=asyncio.Lock)
    loaded: bool = False
    heard: set[tuple[str, int]] = field(default_factory=set)
    holders: int = 0
    neighbours: dict[int, _Kept] | None = None
    published_at: float = float("-inf")
    flush: asyncio.Handle | None = None
    expiry: asyncio.TimerHandle | None = None


class Snapshots:
    """The snapshots by environment. ``ipsec_checked`` reads the setting that the service ``ipsec`` wants to know."""

    def __init__(
        self,
        store: Store,
        *,
        ipsec_checked: Callable[[], bool] = lambda: False,
        gather: float = GATHER_SECONDS,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self._store = store
        self._ipsec_checked = ipsec_checked
        self._gather = gather
        self._linger = linger
        self._kept: dict[int, _Kept] = {}
        self._unlinked: set[int] = set()
        self._wake = asyncio.Event()
        self._listeners: list[Published] = []
        store.listen(self._hear)

    @asynccontextmanager
    async def following(self, account_id: int) -> AsyncIterator[Environment]:
        """The environment's snapshot, kept current inside the block."""
        kept = await self._hold(account_id)
        try:
            if kept.neighbours is None:
                await self._link(kept)
            yield kept.environment
        finally:
            self._release(kept)

    async def run(self) -> None:
        """Follow links to other environments as they come and go, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unlinked:
                await self._link_again(self._unlinked.pop())

    def listen(self, listener: Published) -> None:
        """Hear of every environment that has a new revision. Listeners must be quick and must not raise."""
        self._listeners.append(listener)

    def kept(self, account_id: int) -> Environment | None:
        """The snapshot of an environment that somebody follows."""
        kept = self._kept.get(account_id)
        return kept.environment if kept is not None and kept.neighbours is not None else None

    # Holding

    async def _hold(self, account_id: int) -> _Kept:
        kept = self._kept.get(account_id)
        if kept is None:
            kept = self._kept[account_id] = _Kept(Environment(account_id))
        if kept.expiry is not None:
            kept.expiry.cancel()
            kept.expiry = None
        kept.holders += 1
        try:
            async with kept.loading:
                if not kept.loaded:
                    await self._load(kept)
        except BaseException:
            self._release(kept)
            raise
        return kept

    def _release(self, kept: _Kept) -> None:
        kept.holders -= 1
        if kept.holders == 0:
            linger = self._linger if kept.loaded else 0.0
            kept.expiry = asyncio.get_running_loop().call_later(linger, self._forget, kept)

    def _release_all(self, held: Mapping[int, _Kept]) -> None:
        for each in held.values():
            self._release(each)

    def _forget(self, kept: _Kept) -> None:
        if kept.holders:
            return
        account_id = kept.environment.account_id
        if self._kept.get(account_id) is kept:
            del self._kept[account_id]
        if kept.flush is not None:
            kept.flush.cancel()
        left, kept.neighbours = kept.neighbours or {}, None
        self._release_all(left)
        log.debug("snapshot.forgotten", environment_id=account_id)

    async def _load(self, kept: _Kept) -> None:
        environment = kept.environment
        sheet = environment.sheet
        sheet.put(REGION, GLOBAL, await local_region(self._store))
        sheet.put(CHECKED_IPSEC, GLOBAL, self._ipsec_checked() or None)
        async for rows in environment_rows(self._store, environment.account_id):
            for row in rows:
                if row.key not in kept.heard:  # what was heard while reading is newer than what was read
                    state_facts(sheet, row)
        while sheet.stale:
            environment.settle(_AT_A_TIME)
            await asyncio.sleep(0)
        kept.loaded = True
        kept.heard.clear()
        log.debug("snapshot.loaded", environment_id=environment.account_id, objects=len(environment.own))

    async def _link(self, kept: _Kept) -> None:
        """Hold the environments that are linked now, let go of those that are not, and show what there is to see."""
        async with kept.linking:
            wanted = await neighbours(self._store, kept.environment.account_id)
            held: dict[int, _Kept] = {}
            try:
                for account_id in wanted:
                    held[account_id] = await self._hold(account_id)
            except BaseException:
                self._release_all(held)
                raise
            before, kept.neighbours = kept.neighbours, held
        if before is None:
            self._look_around(kept)  # nobody was told anything yet
            kept.environment.settle()
        else:
            self._release_all(before)
            self._plan_flush(kept)

    async def _link_again(self, account_id: int) -> None:
        kept = self._kept.get(account_id)
        if kept is None or kept.neighbours is None:
            return
        kept.holders += 1
        try:
            await self._link(kept)
        except BaseException:
            self._unlinked.add(account_id)
            self._wake.set()
            raise
        finally:
            self._release(kept)

    @staticmethod
    def _look_around(kept: _Kept) -> Difference:
        """Take over what the neighbours show."""
        environment = kept.environment
        present: dict[Key, Object] = {}
        names: dict[int, ServiceName] = {}
        for neighbour in (kept.neighbours or {}).values():
            names.update(foreign_names(environment, neighbour.environment))
            present.update(foreign_objects(environment, neighbour.environment))
        environment.name_foreign(names)
        return environment.settle_foreign(present)

    # Hearing

    def _hear(self, touched: Sequence[Touched]) -> None:
        if not self._kept:
            return
        for row in touched:
            if row.type == "setting":
                self._everywhere(CHECKED_IPSEC, self._ipsec_checked() or None)
            elif row.type == "region":
                self._hear_region(row)
            else:
                self._hear_row(row)

    def _hear_row(self, row: Touched) -> None:
        record = row.after or row.before
        if record is None:
            return
        if row.type in ("accountLink", "serviceConsumeMap"):
            self._hear_link(row)
        account_id = row.id if row.type == "account" else row.account_id
        kept = None if account_id is None else self._kept.get(account_id)
        if kept is None:
            return
        take(kept.environment.sheet, row)
        if not kept.loaded:
            kept.heard.add((row.type, row.id))
        elif kept.environment.sheet.stale:
            self._plan_flush(kept)

    def _hear_link(self, row: Touched) -> None:
        """A link that may lead from one environment to another: look again who is linked to whom."""
        for record in (row.before, row.after):
            if record is None:
                continue
            for account_id in self._ends(record):
                if account_id in self._kept:
                    self._unlinked.add(account_id)
                    self._wake.set()

    def _ends(self, record: Record) -> Iterator[int]:
        """The environments that a link joins, as far as they are known; none for a link inside one."""
        if record.account_id is None:
            return
        if record.type == "accountLink":
            yield record.account_id
            yield int(record["linkedAccountId"] or 0)
            return
        target = record["consumedServiceId"]
        if target is not None and not self._lives_in(record.account_id, int(target)):
            yield record.account_id
            yield from (each for each in self._kept if self._lives_in(each, int(target)))

    def _lives_in(self, account_id: int, service_id: int) -> bool:
        kept = self._kept.get(account_id)
        return kept is not None and kept.environment.sheet.fact("service", service_id) is not None

    def _hear_region(self, row: Touched) -> None:
        region = row.after
        if region is not None and region["local"] and region["removed"] is None:
            self._everywhere(REGION, region.name)
        elif row.before is not None and row.before["local"]:
            self._everywhere(REGION, None)

    def _everywhere(self, name: str, value: object) -> None:
        for kept in self._kept.values():
            kept.environment.sheet.put(name, GLOBAL, value)
            if kept.loaded and kept.environment.sheet.stale:
                self._plan_flush(kept)

    # Telling

    def _plan_flush(self, kept: _Kept) -> None:
        if kept.flush is not None:
            return
        loop = asyncio.get_running_loop()
        due = kept.published_at + self._gather
        if due <= loop.time():
            kept.flush = loop.call_soon(self._flush, kept)
        else:
            kept.flush = loop.call_at(due, self._flush, kept)

    def _flush(self, kept: _Kept) -> None:
        kept.flush = None
        environment = kept.environment
        foreign = self._look_around(kept) if kept.neighbours or environment.foreign else Difference()
        difference = environment.settle()
        for key, each in foreign.changed.items():
            difference.changed.setdefault(key, each)
        difference.gone.extend(foreign.gone)
        if not difference:
            return
        kept.published_at = asyncio.get_running_loop().time()
        environment.publish(difference)
        for listener in self._listeners:
            listener(environment)
        for other in self._kept.values():
            if other.neighbours and environment.account_id in other.neighbours:
                self._plan_flush(other)
