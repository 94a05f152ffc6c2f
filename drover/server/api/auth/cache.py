"""A cache of what authentication read from the database, which no commit can leave stale.

Every entry names the rows it was made from; a commit that touches one of them drops it. A read that was under way
during such a commit is not kept. Where other servers write to the same database, entries are also short-lived.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

from drover.server.store import Store

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Row = tuple[str, int]

_SHARED_SECONDS = 3.0


class RowCache(Generic[K, V]):
    """At most ``size`` values; the least recently used goes first."""

    def __init__(self, store: Store, *, size: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = float("inf") if store.database.exclusive else _SHARED_SECONDS
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[K, tuple[V, tuple[Row, ...], float]] = OrderedDict()
        self._users: dict[Row, set[K]] = {}
        self._generation = 0

    async def get(self, key: K, load: Callable[[], Awaitable[V]], rows: Callable[[V], Iterable[Row]]) -> V:
        """The value, loaded when it is not at hand. ``rows`` names what it was made from; no rows: not kept."""
        entry = self._entries.get(key)
        if entry is not None and entry[2] > self._clock():
            self._entries.move_to_end(key)
            return entry[0]
        generation = self._generation
        value = await load()
        if generation == self._generation:
            self._put(key, value, tuple(rows(value)))
        return value

    def drop_row(self, row: Row) -> None:
        self._generation += 1
        for key in list(self._users.get(row, ())):
            self._remove(key)

    def _put(self, key: K, value: V, rows: tuple[Row, ...]) -> None:
        self._remove(key)
        if not rows:
            return
        self._entries[key] = (value, rows, self._clock() + self._lifetime)
        for row in rows:
            self._users.setdefault(row, set()).add(key)
        if len(self._entries) > self._size:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        for row in entry[1]:
            users = self._users.get(row)
            if users is not None:
                users.discard(key)
                if not users:
                    del self._users[row]
