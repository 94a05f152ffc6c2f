"""When which check is due: a heap and one timer, however many checks there are.

A check keeps its rhythm: the next one is due an interval after the last one was, not after it ended, and what fell
into a long answer is left out. The first one is spread over the interval, so that a thousand checks that begin
together do not stay together.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

# What falls due within this time is started by one wake-up, and a timer that rings a little early does not spin.
GRAIN_SECONDS = 0.01

Work = Callable[[str], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Entry:
    interval: float
    due: float
    serial: int


@dataclass(slots=True)
class Schedule:
    """Runs `work(key)` for each key in its rhythm, at most `limit` at once. Times are those of the loop's clock."""

    work: Work
    limit: int = 256
    draw: Callable[[float, float], float] = random.uniform
    late: int = field(default=0, init=False)
    _entries: dict[str, _Entry] = field(default_factory=dict, init=False)
    _heap: list[tuple[float, int, str]] = field(default_factory=list, init=False)
    _serials: count[int] = field(default_factory=count, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def add(self, key: str, interval: float) -> None:
        """Begin, at a random moment within the interval. A key that is there already only gets the interval."""
        known = self._entries.get(key)
        if known is not None:
            known.interval = interval
            return
        now = asyncio.get_running_loop().time()
        entry = self._entries[key] = _Entry(interval, now + self.draw(0.0, interval), next(self._serials))
        self._push(key, entry)

    def remove(self, key: str) -> None:
        """Stop; what is under way ends, and its result is the caller's to ignore."""
        self._entries.pop(key, None)

    @property
    def under_way(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """End everything."""
        self._entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _push(self, key: str, entry: _Entry) -> None:
        heapq.heappush(self._heap, (entry.due, entry.serial, key))
        if self._heap[0][1] == entry.serial:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and len(self._tasks) < self.limit:
            self._timer = asyncio.get_running_loop().call_at(self._heap[0][0] + GRAIN_SECONDS, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now and len(self._tasks) < self.limit:
            _, serial, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is None or entry.serial != serial:
                continue
            task = asyncio.create_task(self.work(key))
            self._tasks.add(task)
            task.add_done_callback(partial(self._done, key, entry))
        self._arm()

    def _done(self, key: str, entry: _Entry, task: asyncio.Task[None]) -> None:
        full = len(self._tasks) >= self.limit
        self._tasks.discard(task)
        if self._entries.get(key) is entry:
            now = asyncio.get_running_loop().time()
            entry.due += entry.interval
            if entry.due < now:
                missed = int((now - entry.due) / entry.interval) + 1
                self.late += missed
                entry.due += missed * entry.interval
            self._push(key, entry)
        if full:
            self._arm()
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": f"check {key} failed", "exception": error, "task": task})
