"""Reads that wait together travel together: single look-ups of the same tick become one ``IN`` query per type."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from drover.server.store.database import Database
from drover.server.store.mapping import TypeMap
from drover.server.store.query import Query, select, where
from drover.server.store.record import Record

_IN_CHUNK = 500


class Reader:
    """Reads records. Every read sees all that was committed before it was asked for."""

    def __init__(self, database: Database, types: Mapping[str, TypeMap]) -> None:
        self._database = database
        self._types = types
        self._waiting: dict[str, dict[int, list[asyncio.Future[Record | None]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, type_name: str, row_id: int) -> Record | None:
        """One row by id, or None; look-ups of other tasks share the query."""
        future: asyncio.Future[Record | None] = asyncio.get_running_loop().create_future()
        first = type_name not in self._waiting
        self._waiting.setdefault(type_name, {}).setdefault(row_id, []).append(future)
        if first:
            task = asyncio.create_task(self._flush(type_name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def get_many(self, type_name: str, ids: Sequence[int]) -> dict[int, Record]:
        """Rows by id; missing ones are left out."""
        found: dict[int, Record] = {}
        unique = sorted(set(ids))
        table = self._types[type_name].table
        async with self._database.read() as connection:
            for start in range(0, len(unique), _IN_CHUNK):
                statement = sa.select(table).where(table.c.id.in_(unique[start : start + _IN_CHUNK]))
                for row in (await connection.execute(statement)).mappings():
                    record = self._types[type_name].decode(row)
                    found[record.id] = record
        return found

    async def find(self, query: Query) -> list[Record]:
        mapping = self._types[query.type]
        async with self._database.read() as connection:
            rows = (await connection.execute(select(mapping, query))).mappings().all()
        return [mapping.decode(row) for row in rows]

    async def count(self, query: Query) -> int:
        mapping = self._types[query.type]
        statement = sa.select(sa.func.count()).select_from(mapping.table).where(*where(mapping, query))
        async with self._database.read() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Rows of a hand-written read, for aggregates that no query here expresses."""
        async with self._database.read() as connection:
            found: Sequence[sa.Row[Any]] = (await connection.execute(statement)).all()
        return found

    async def _flush(self, type_name: str) -> None:
        wanted = self._waiting.pop(type_name)
        try:
            found = await self.get_many(type_name, list(wanted))
        except BaseException as error:
            for futures in wanted.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for row_id, futures in wanted.items():
            for future in futures:
                if not future.done():
                    future.set_result(found.get(row_id))
