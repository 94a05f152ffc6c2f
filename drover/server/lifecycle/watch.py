"""Waiting until a resource looks a certain way, without polling: every commit is looked at as it happens."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from drover.server.store import Record, Store, Touched

Predicate = Callable[[Record | None], bool]


class Watch:
    """Lets tasks wait for rows. Another server's commits are seen by a re-read every few seconds."""

    def __init__(self, store: Store, *, recheck_seconds: float = 5.0) -> None:
        self._store = store
        self._recheck = recheck_seconds
        self._waiting: dict[tuple[str, int], list[tuple[Predicate, asyncio.Future[Record | None]]]] = defaultdict(list)
        store.listen(self._hear)

    async def until(self, type_name: str, row_id: int, predicate: Predicate, *, timeout: float) -> Record | None:
        """The row once it satisfies the predicate (None stands for a row that is gone). Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        key = (type_name, row_id)
        while True:
            future: asyncio.Future[Record | None] = loop.create_future()
            entry = (predicate, future)
            self._waiting[key].append(entry)
            try:
                record = await self._store.get(type_name, row_id)
                if predicate(record):
                    return record
                return await asyncio.wait_for(future, min(self._recheck, max(0.0, deadline - loop.time())))
            except TimeoutError:
                if loop.time() >= deadline:
                    raise
            finally:
                self._waiting[key].remove(entry)
                if not self._waiting[key]:
                    del self._waiting[key]

    def _hear(self, touched: Sequence[Touched]) -> None:
        if not self._waiting:
            return
        for row in touched:
            for predicate, future in self._waiting.get((row.type, row.id), ()):
                if not future.done() and predicate(row.after):
                    future.set_result(row.after)
