"""Budgets: how many processes run at once, so that user work never starves the system's own, nor the reverse."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool as the API's ``processPool`` shows it."""

    name: str
    active: int
    limit: int
    queued: int
    completed: int


class Pool:
    """Starts work in order of priority, at most ``limit`` at a time."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self._limit = limit
        self._active = 0
        self._completed = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def submit(self, priority: int, start: Callable[[], None]) -> None:
        """Start now or when a place is free; higher priorities first, equal ones in order of arrival."""
        heapq.heappush(self._queue, (-priority, next(self._order), start))
        self._fill()

    def release(self) -> None:
        """A started piece of work has ended."""
        self._active -= 1
        self._completed += 1
        self._fill()

    def _fill(self) -> None:
        while self._queue and self._active < self._limit:
            self._active += 1
            _, _, start = heapq.heappop(self._queue)
            start()

    @property
    def status(self) -> PoolStatus:
        return PoolStatus(self.name, self._active, self._limit, len(self._queue), self._completed)


_PRIORITIES = {
    "containerevent": 100,
    "agent.reconnect": 200,
    "instance": 50,
    "externalhandler.create": 100,
    "externalhandler.deactivate": 100,
    "externalhandler.remove": 100,
    "externalhandler.purge": 100,
    "purge": -100,
}
_SYSTEM_BONUS = 1000


def priority_of(process: str, *, system: bool) -> int:
    """The queue priority of a process. Source: the defaults of Rancher 1.6, looked up from special to general."""
    resource, _, action = process.partition(".")
    for key in (process, action, resource):
        if key in _PRIORITIES:
            base = _PRIORITIES[key]
            break
    else:
        base = 0
    return base + (_SYSTEM_BONUS if system else 0)
