"""Small writes that nobody waits for, such as a progress text, kept track of until they are done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from drover.server.store import Changes, Store, StoreError

log = structlog.get_logger(__name__)


class Background:
    """Owns tasks that outlive the function that started them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def commit(self, store: Store, changes: Changes) -> None:
        """Write a plan; one that has been overtaken by events is dropped."""
        self.spawn(_commit(store, changes))

    async def run(self) -> None:
        """Keep the tasks until the server ends."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self.close()

    async def close(self) -> None:
        """End what still runs."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background.failed", exc_info=error)


async def _commit(store: Store, changes: Changes) -> None:
    try:
        await store.commit(changes)
    except StoreError as late:
        log.debug("background.overtaken", reason=str(late))
