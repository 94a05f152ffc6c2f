"""Ends initializations that take too long, at their moment: a heap in memory and one timer, rebuilt from the book.

Source: Rancher 1.6, which looked once a minute. Time-outs count from the last change of the health state; without a
time-out a container may stay as it is for ever, and so may one whose strategy is ``none``.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.health.book import INITIALIZING, REINITIALIZING, Book, Target
from drover.server.orchestration.health.recreations import plan_failure
from drover.server.orchestration.instances.plan import plan_stop_and_remove
from drover.server.store import Record, StoreError

log = structlog.get_logger(__name__)

GRACE_MS = 30_000
"""After its start a server waits so long: checkers whose reports it missed repeat them first."""
_SWEEP_SETTING = "task.healthcheck.cleanup.schedule"


class Deadlines:
    """Removes containers whose time is over; a service then replaces them."""

    def __init__(self, context: Context, book: Book, clock: Callable[[], int] = now_ms) -> None:
        self._context = context
        self._book = book
        self._clock = clock
        self._heap: list[tuple[int, int]] = []
        self._due: dict[int, int] = {}
        self._wake = asyncio.Event()
        self._not_before = 0

    async def run(self) -> None:
        """Work until cancelled."""
        await self._book.ready()
        self._not_before = self._clock() + GRACE_MS if len(self._book) else 0
        self._book.on_change(self._note)
        while True:
            wait = None if not self._heap else max(0.0, (self._heap[0][0] - self._clock()) / 1000)
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), wait)
            except TimeoutError:
                await self._remove_due()

    def _note(self, target: Target) -> None:
        due = self.due(target)
        if due is None:
            self._due.pop(target.id, None)
            return
        if self._due.get(target.id) == due:
            return
        self._due[target.id] = due
        heapq.heappush(self._heap, (due, target.id))
        if self._heap[0] == (due, target.id):
            self._wake.set()

    def due(self, target: Target) -> int | None:
        """When the container is to be removed, in milliseconds since the epoch; None for never.

        A time-out of zero lasted until the next look in the original, and does so here.
        """
        if not target.running or target.check.strategy == "none":
            return None
        if target.health not in (INITIALIZING, REINITIALIZING):
            return None
        given = target.check.initializing_timeout
        if target.health == REINITIALIZING:
            given = target.check.reinitializing_timeout
        if given is None:
            return None
        lasts = int(given) if given > 0 else int(seconds(self._context.settings, _SWEEP_SETTING) * 1000)
        return max(int(target.record["healthUpdated"] or 0) + lasts, self._not_before)

    async def _remove_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, instance_id = heapq.heappop(self._heap)
            if self._due.get(instance_id) != due:
                continue  # it changed meanwhile: another entry stands for it, or none
            del self._due[instance_id]
            target = self._book.get(instance_id)
            if target is not None:
                await self._remove(target)

    async def _remove(self, target: Target) -> None:
        changes = self._context.store.changes()
        changes.guard(target.record, healthState=target.health, healthUpdated=target.record["healthUpdated"])
        planned = plan_stop_and_remove(self._context, changes, target.record)
        if planned is target.record:
            return  # it is on its way out
        unit = await self._unit(target)
        if unit is not None:
            plan_failure(changes, unit, target.record["hostId"], now_ms())
        log.info("health.timed_out", instance_id=target.id, health=target.health)
        try:
            await self._context.store.commit(changes)
        except StoreError as moved:
            log.debug("health.moved_on", instance_id=target.id, reason=str(moved))

    async def _unit(self, target: Target) -> Record | None:
        uuid = target.record["deploymentUnitUuid"]
        return None if not uuid else await self._context.store.first("deploymentUnit", uuid=uuid, removed=None)
