"""Votes of checkers that are no more: they lose their weight, so that a dead checker keeps nobody healthy for ever.

Checkers report changes only, so silence of a living one means that nothing changed. What makes a vote expire is
therefore the checker's own life: when its container no longer runs, its votes hold for another
max(3 x interval, 30 s), the time in which its successor gives its own. A host that loses its connection loses all its
votes at once (see ``judge``): by then it has been silent for half a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.health.book import INITIALIZING, RUNNING, Book, Target, Vote
from drover.server.store import StoreError, Touched

log = structlog.get_logger(__name__)

LEAST_MS = 30_000
_INTERVALS = 3
_DEFAULT_INTERVAL = 2000
_ALIVE = RUNNING | {"starting", "restarting"}


def holds_ms(interval: int | None) -> int:
    """How long a vote outlives its checker."""
    return max(_INTERVALS * (interval or _DEFAULT_INTERVAL), LEAST_MS)


class Silence:
    """Watches the containers that gave votes."""

    def __init__(self, context: Context, book: Book, clock: Callable[[], int] = now_ms) -> None:
        self._context = context
        self._book = book
        self._clock = clock
        self._checkers: set[int] = set()
        self._dead: dict[int, int] = {}
        self._wake = asyncio.Event()
        context.store.listen(self._hear)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._book.ready()
        self._book.on_change(self._learn)
        await self._look_at_checkers()
        while True:
            self._wake.clear()
            next_due = await self._expire()
            wait = None if next_due is None else max(0.0, (next_due - self._clock()) / 1000)
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                continue

    def _learn(self, target: Target) -> None:
        for vote in target.votes.values():
            if vote.checker is not None:
                self._checkers.add(vote.checker)

    async def _look_at_checkers(self) -> None:
        found = await self._context.store.get_many("instance", sorted(self._checkers)) if self._checkers else {}
        for checker in self._checkers:
            record = found.get(checker)
            if record is None or record["removed"] or record.state not in _ALIVE:
                self._dead.setdefault(checker, self._clock())

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type != "instance" or row.id not in self._checkers:
                continue
            if row.after is not None and not row.after["removed"] and row.after.state in _ALIVE:
                self._dead.pop(row.id, None)
            elif row.id not in self._dead:
                self._dead[row.id] = self._clock()
                self._wake.set()

    async def _expire(self) -> int | None:
        """Take the weight from votes whose time is over; returns when the next one's is."""
        if not self._dead:
            return None
        now = self._clock()
        due: list[tuple[Target, Vote]] = []
        later: list[int] = []
        for target in self._book:
            for vote in target.votes.values():
                died = self._dead.get(vote.checker or 0)
                if died is None or vote.health == INITIALIZING:
                    continue
                ends = died + holds_ms(target.check.interval)
                if ends <= now:
                    due.append((target, vote))
                else:
                    later.append(ends)
        if due:
            await self._withdraw(due)
        elif not later:
            self._checkers -= self._dead.keys()
            self._dead.clear()
        return min(later, default=None)

    async def _withdraw(self, due: Sequence[tuple[Target, Vote]]) -> None:
        changes = self._context.store.changes()
        for _, vote in due:
            changes.guard(vote.record, checkerId=vote.checker)
            changes.update(vote.record, {"healthState": INITIALIZING, "checkerId": None})
        log.info("health.votes_expired", votes=len(due))
        try:
            await self._context.store.commit(changes)
        except StoreError as lost:
            log.info("health.expiry_lost_race", reason=str(lost))
            self._wake.set()
