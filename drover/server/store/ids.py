"""Database ids, known before the row is written.

Each server takes blocks of numbers per type, so a plan can link its rows to each other without a round trip. What
is left of a block is handed back at a clean stop; a crash leaves a gap, which harms nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from drover.server.store.database import Database
from drover.server.store.internal import id_block

_FIRST_BLOCK = 256
_LARGEST_BLOCK = 8192


@dataclass(slots=True)
class _Block:
    next: int
    end: int  # first number that is not ours
    size: int

    @property
    def left(self) -> int:
        return self.end - self.next


class Ids:
    """Hands out ids by type. With several servers, await ``ensure`` for as many as ``take`` will be called for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks: dict[str, _Block] = {}
        self._refilling: dict[str, asyncio.Lock] = {}
        self._low: set[str] = set()

    async def start(self, types: list[str]) -> None:
        """Reserve a first block for every type."""
        async with self._database.write() as connection:
            known = {row.name: row.next for row in await connection.execute(_locked(sa.select(id_block)))}
            fresh = [{"name": name, "next": 1 + _FIRST_BLOCK} for name in types if name not in known]
            if fresh:
                await connection.execute(sa.insert(id_block), fresh)
            again = [{"n": name, "v": known[name] + _FIRST_BLOCK} for name in types if name in known]
            if again:
                await connection.execute(
                    sa.update(id_block).where(id_block.c.name == sa.bindparam("n")).values(next=sa.bindparam("v")),
                    again,
                )
        for name in types:
            first = known.get(name, 1)
            self._blocks[name] = _Block(first, first + _FIRST_BLOCK, _FIRST_BLOCK)

    def take(self, name: str) -> int:
        block = self._blocks[name]
        if block.next >= block.end and not self._database.exclusive:
            raise RuntimeError(f"out of ids for {name}: await Store.ensure_ids({name!r}, count) before planning")
        block.next += 1  # past the block's end where nobody else could have taken the numbers that follow
        if block.left < block.size // 2:
            self._low.add(name)
        return block.next - 1

    def low(self) -> set[str]:
        """Types whose block should be refilled before it runs out; each is told of once."""
        low, self._low = self._low, set()
        return low

    async def ensure(self, name: str, count: int) -> None:
        """Have at least ``count`` ids of a type at hand. The numbers left in the present block are skipped if few."""
        if self._blocks[name].left >= count:
            return
        async with self._refilling.setdefault(name, asyncio.Lock()):  # one fetch serves all who wait for it
            if self._blocks[name].left < count:
                await self._fetch(name, count)

    async def refill(self, name: str) -> None:
        """Take the next block of a type that runs low, unless somebody has done so meanwhile."""
        async with self._refilling.setdefault(name, asyncio.Lock()):
            block = self._blocks[name]
            if block.left < block.size // 2:
                await self._fetch(name, block.size)

    async def _fetch(self, name: str, count: int) -> None:
        block = self._blocks[name]
        size = max(min(block.size * 2, _LARGEST_BLOCK), count)
        async with self._database.write() as connection:
            query = _locked(sa.select(id_block.c.next).where(id_block.c.name == name))
            first = int((await connection.execute(query)).scalar_one())
            await connection.execute(sa.update(id_block).where(id_block.c.name == name).values(next=first + size))
        if block.end == first:
            block.end = max(first + size, block.next)  # nobody took numbers in between: the block just grows
        else:
            block.next, block.end = first, first + size
        block.size = size

    async def skip_used(self, tables: Mapping[str, sa.Table]) -> None:
        """After a crash: rows may have ids beyond the block that was noted last. Only for a database of our own."""
        largest = sa.union_all(
            *(sa.select(sa.literal(name), sa.func.max(table.c.id)) for name, table in tables.items())
        )
        async with self._database.read() as connection:
            for name, used in await connection.execute(largest):
                block = self._blocks[name]
                block.next = max(block.next, (used or 0) + 1)

    async def stop(self) -> None:
        """Hand back what was not used, where nobody has taken a later block since."""
        left = [{"n": name, "end": block.end, "v": block.next} for name, block in self._blocks.items() if block.left]
        if left:
            unused = id_block.c.name == sa.bindparam("n"), id_block.c.next == sa.bindparam("end")
            async with self._database.write() as connection:
                await connection.execute(sa.update(id_block).where(*unused).values(next=sa.bindparam("v")), left)
        self._blocks.clear()


def _locked(query: sa.Select[Any]) -> sa.Select[Any]:
    """Lock the rows where the database has row locks (SQLite's write transaction is exclusive anyway)."""
    return query.with_for_update()
