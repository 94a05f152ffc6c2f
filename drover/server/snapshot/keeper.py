"""Keeps the snapshots that somebody follows, and none else.

A snapshot is read from the database when its first follower comes, kept current from the commits, and forgotten a
while after the last one has left. A change goes out at once when none went before; those that come after it are
gathered, so that a deployment of a thousand containers is some dozens of frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from drover.server.snapshot.environment import Environment
from drover.server.snapshot.facts import load_facts, take
from drover.server.snapshot.formulas import CHECKED_IPSEC, GLOBAL, REGION
from drover.server.snapshot.load import environment_rows, local_region
from drover.server.store import Store, Touched

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.1
LINGER_SECONDS = 60.0

Published = Callable[[Environment], None]


@dataclass(slots=True, eq=False)
class _Kept:
    """A snapshot, who holds it, and what is planned for it."""

    environment: Environment
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    loaded: bool = False
    heard: set[tuple[str, int]] = field(default_factory=set)
    holders: int = 0
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
        self._listeners: list[Published] = []
        store.listen(self._hear)

    @asynccontextmanager
    async def following(self, account_id: int) -> AsyncIterator[Environment]:
        """The environment's snapshot, kept current inside the block."""
        kept = await self._hold(account_id)
        try:
            yield kept.environment
        finally:
            self._release(kept)

    def listen(self, listener: Published) -> None:
        """Hear of every environment that has a new revision. Listeners must be quick and must not raise."""
        self._listeners.append(listener)

    def kept(self, account_id: int) -> Environment | None:
        """The snapshot of an environment that somebody follows."""
        kept = self._kept.get(account_id)
        return kept.environment if kept is not None and kept.loaded else None

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

    def _forget(self, kept: _Kept) -> None:
        if kept.holders:
            return
        account_id = kept.environment.account_id
        if self._kept.get(account_id) is kept:
            del self._kept[account_id]
        if kept.flush is not None:
            kept.flush.cancel()
        log.debug("snapshot.forgotten", environment_id=account_id)

    async def _load(self, kept: _Kept) -> None:
        environment = kept.environment
        sheet = environment.sheet
        sheet.put(REGION, GLOBAL, await local_region(self._store))
        sheet.put(CHECKED_IPSEC, GLOBAL, self._ipsec_checked() or None)
        async for rows in environment_rows(self._store, environment.account_id):
            # What was heard while reading is newer than what was read.
            load_facts(sheet, (row for row in rows if row.key not in kept.heard))
        kept.loaded = True
        kept.heard.clear()
        environment.settle()
        log.debug("snapshot.loaded", environment_id=environment.account_id, objects=len(environment.own))

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
        account_id = row.id if row.type == "account" else row.account_id
        kept = None if account_id is None else self._kept.get(account_id)
        if kept is None:
            return
        take(kept.environment.sheet, row)
        if not kept.loaded:
            kept.heard.add((row.type, row.id))
        elif kept.environment.sheet.stale:
            self._plan_flush(kept)

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
        difference = kept.environment.settle()
        if not difference:
            return
        kept.published_at = asyncio.get_running_loop().time()
        kept.environment.publish(difference)
        for listener in self._listeners:
            listener(kept.environment)
