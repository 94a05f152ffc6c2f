"""Rows of one type held in memory: read once, then kept current from the commits.

For the few types of which there are tens or hundreds (agents, hosts, networks) and which every container needs to
look at. Containers are never mirrored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from drover.server.store import Record, Store, Touched

OnChange = Callable[[Record | None, Record | None], None]


class Mirror:
    """The rows of a type that are not removed and satisfy ``keep``. Await :meth:`ready` before reading."""

    def __init__(self, store: Store, type_name: str, keep: Callable[[Record], bool] = lambda record: True) -> None:
        self._store = store
        self._type = type_name
        self._keep = keep
        self._rows: dict[int, Record] = {}
        self._heard: set[int] = set()
        self._loaded = False
        self._loading = asyncio.Lock()
        self._callbacks: list[OnChange] = []
        store.listen(self._hear)

    async def ready(self) -> None:
        """Load the rows, once."""
        if not self._loaded:
            async with self._loading:
                await self._load()

    async def _load(self) -> None:
        if self._loaded:
            return
        for record in await self._store.find_by(self._type, removed=None):
            if record.id not in self._heard:  # a commit that was heard meanwhile is newer than what was read
                self._put(record.id, record)
        self._heard.clear()
        self._loaded = True

    def on_change(self, callback: OnChange) -> None:
        """Call ``callback(before, after)`` for every kept row that is loaded, appears, changes or goes (None)."""
        self._callbacks.append(callback)
        for record in self._rows.values():
            callback(None, record)

    def get(self, row_id: int | None) -> Record | None:
        return None if row_id is None else self._rows.get(row_id)

    def where(self, **equals: object) -> Iterator[Record]:
        """Rows whose fields have these values."""
        return (row for row in self._rows.values() if all(row[name] == value for name, value in equals.items()))

    def __iter__(self) -> Iterator[Record]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == self._type:
                if not self._loaded:
                    self._heard.add(row.id)
                self._put(row.id, row.after)

    def _put(self, row_id: int, record: Record | None) -> None:
        kept = record if record is not None and not record["removed"] and self._keep(record) else None
        before = self._rows.pop(row_id, None) if kept is None else self._rows.get(row_id)
        if kept is not None:
            self._rows[row_id] = kept
        if kept is not None or before is not None:
            for callback in self._callbacks:
                callback(before, kept)
