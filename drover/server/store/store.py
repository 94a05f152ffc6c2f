"""The face of the room: plan, commit, read, listen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from drover.server.store.changes import Changes, Committed, Touched
from drover.server.store.committer import Committer
from drover.server.store.database import Database
from drover.server.store.ids import Ids
from drover.server.store.internal import claim
from drover.server.store.mapping import TypeMap
from drover.server.store.query import Condition, Operator, Query
from drover.server.store.reader import Reader
from drover.server.store.record import Record

Listener = Callable[[Sequence[Touched]], None]


class Store:
    """Everything durable. Start it after the schema is in place; stop it last."""

    def __init__(self, database: Database, types: Iterable[TypeMap]) -> None:
        self.database = database
        self.types = {mapping.name: mapping for mapping in types}
        self._listeners: list[Listener] = []
        self._ids = Ids(database)
        self._reader = Reader(database, self.types)
        self._committer = Committer(database, self.types, self._listeners)
        self._refills: dict[str, asyncio.Task[None]] = {}

    async def start(self) -> None:
        await self._ids.start(sorted(self.types))
        if self.database.exclusive:
            await self._ids.skip_used({name: mapping.table for name, mapping in self.types.items()})
        self._committer.start()

    async def stop(self) -> None:
        await asyncio.gather(*self._refills.values())
        await self._committer.stop()
        await self._ids.stop()
        await self.database.close()

    # Writing

    def changes(self) -> Changes:
        """An empty plan."""
        return Changes(next_id=self._ids.take)

    async def commit(self, changes: Changes) -> Committed:
        """Write a plan. Raises GuardFailed, ClaimTaken or RowMissing, and then nothing of it is written."""
        if changes.empty:
            return Committed(())
        for name in self._ids.low():
            if name not in self._refills:
                self._refill(name)
        return await self._committer.commit(changes)

    async def ensure_ids(self, type_name: str, count: int) -> None:
        """Have ids for a plan that inserts more than about a hundred rows of a type."""
        await self._ids.ensure(type_name, count)

    def listen(self, listener: Listener) -> None:
        """Hear of every committed row, in commit order. Listeners must be quick and must not raise."""
        self._listeners.append(listener)

    # Reading

    async def get(self, type_name: str, row_id: int) -> Record | None:
        return await self._reader.get(type_name, row_id)

    async def get_many(self, type_name: str, ids: Sequence[int]) -> dict[int, Record]:
        return await self._reader.get_many(type_name, ids)

    async def find(self, query: Query) -> list[Record]:
        return await self._reader.find(query)

    async def find_by(self, type_name: str, **equals: Any) -> list[Record]:
        """Rows whose fields have these values: None means null, a list or tuple any of its members.

        A trailing ``_ne`` on a name negates it (``state_ne="removed"``).
        """
        conditions = tuple(_condition(name, value) for name, value in equals.items())
        return await self._reader.find(Query(type_name, conditions))

    async def first(self, type_name: str, **equals: Any) -> Record | None:
        conditions = tuple(_condition(name, value) for name, value in equals.items())
        found = await self._reader.find(Query(type_name, conditions, limit=1))
        return found[0] if found else None

    async def claimed(self, prefix: str) -> dict[str, tuple[str, int]]:
        """The keys that begin with ``prefix`` and are held, with the type and id of who holds each."""
        statement = sa.select(claim).where(claim.c.key.startswith(prefix, autoescape=True))
        return {row.key: (row.owner_type, row.owner_id) for row in await self._reader.rows(statement)}

    async def count(self, query: Query) -> int:
        return await self._reader.count(query)

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return await self._reader.rows(statement)

    def _refill(self, name: str) -> None:
        task = asyncio.create_task(self._ids.refill(name))
        self._refills[name] = task
        task.add_done_callback(lambda _: self._refills.pop(name, None))


def _condition(name: str, value: Any) -> Condition:
    negated = name.endswith("_ne")
    field_name = name.removesuffix("_ne")
    op: Operator
    if value is None:
        op = "notnull" if negated else "null"
    elif isinstance(value, list | tuple | set | frozenset):
        op, value = ("notin" if negated else "in"), list(value)
    else:
        op = "ne" if negated else "eq"
    return Condition(field_name, op, value)
