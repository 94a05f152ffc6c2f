"""Work on a timer: named tasks, whose rhythm is a setting and which an administrator can run at once.

Each task runs in one loop of its own, never twice at the same time. Runs on schedule leave no row, or an idle server
would write for ever; runs that were asked for, and runs that failed, are kept as ``taskInstance``.
"""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.store import Record

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]
_SHORTEST = 0.01


@dataclass(slots=True)
class _Task:
    name: str
    work: Work
    on_timer: bool
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    row: Record | None = None


class Tasks:
    """The timer tasks of a server. Add them before :meth:`run`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tasks: dict[str, _Task] = {}

    def add(self, name: str, work: Work, *, on_timer: bool = True) -> None:
        """A task ``name`` every ``task.<name>.schedule`` seconds; without ``on_timer`` only when it is asked for."""
        self._tasks[name] = _Task(name, work, on_timer)

    async def run(self) -> None:
        await self._ensure_rows()
        await asyncio.sleep(seconds(self._context.settings, "task.initial.delay.seconds"))
        async with asyncio.TaskGroup() as group:
            for task in self._tasks.values():
                if task.on_timer:
                    group.create_task(self._repeat(task), name=f"task:{task.name}")

    async def execute(self, name: str) -> None:
        """Run a task now and keep the run as a row. Raises KeyError for a name that no task has."""
        await self._ensure_rows()
        await self._once(self._tasks[name], keep=True)

    def names(self) -> list[str]:
        return sorted(self._tasks)

    async def _repeat(self, task: _Task) -> None:
        while True:
            await self._once(task, keep=False)
            # Read each time: a changed setting counts from the next run on.
            await asyncio.sleep(max(_SHORTEST, seconds(self._context.settings, f"task.{task.name}.schedule")))

    async def _once(self, task: _Task, *, keep: bool) -> None:
        async with task.lock:
            started, failure = now_ms(), None
            try:
                await task.work()
            except Exception:
                failure = traceback.format_exc(limit=20)
                log.exception("task.failed", task=task.name)
            if keep or failure is not None:
                await self._keep(task, started, failure)

    async def _keep(self, task: _Task, started: int, failure: str | None) -> None:
        changes = self._context.store.changes()
        changes.insert(
            "taskInstance",
            {
                "uuid": str(uuid.uuid4()),
                "name": task.name,
                "taskId": None if task.row is None else task.row.id,
                "startTime": started,
                "endTime": now_ms(),
                "serverId": self._context.engine.server_id,
                "exception": failure and failure[:255],
            },
        )
        await self._context.store.commit(changes)

    async def _ensure_rows(self) -> None:
        """Every task is shown as a row."""
        if all(task.row is not None for task in self._tasks.values()):
            return
        known = {row.name: row for row in await self._context.store.find_by("task")}
        changes = self._context.store.changes()
        for task in self._tasks.values():
            task.row = known.get(task.name) or changes.insert("task", {"uuid": str(uuid.uuid4()), "name": task.name})
        await self._context.store.commit(changes)
