from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from drover.server.api.auth.cache import Row, RowCache

pytestmark = pytest.mark.anyio


class Source:
    """A table that counts how often it is read."""

    def __init__(self, *, exclusive: bool = True, size: int = 100) -> None:
        self.now = 0.0
        self.reads = 0
        self.value: Any = "first"
        store: Any = SimpleNamespace(database=SimpleNamespace(exclusive=exclusive))
        self.cache: RowCache[str, Any] = RowCache(store, size=size, clock=lambda: self.now)

    async def read(self) -> Any:
        self.reads += 1
        return self.value

    async def get(self, key: str = "k", *, load: Callable[[], Awaitable[Any]] | None = None) -> Any:
        return await self.cache.get(key, load or self.read, lambda value: [] if value is None else [self.row(key)])

    @staticmethod
    def row(key: str = "k") -> Row:
        return ("credential", sum(key.encode()))


async def test_a_value_is_read_once_until_its_row_is_touched() -> None:
    source = Source()
    assert [await source.get(), await source.get()] == ["first", "first"]
    assert source.reads == 1
    source.value = "second"
    source.cache.drop_row(source.row("other"))
    assert await source.get() == "first"
    source.cache.drop_row(source.row())
    assert await source.get() == "second"
    assert source.reads == 2


async def test_nothing_found_is_not_remembered() -> None:
    source = Source()
    source.value = None
    assert await source.get() is None
    source.value = "there now"
    assert await source.get() == "there now"


async def test_a_read_that_overlaps_a_commit_is_not_kept() -> None:
    source = Source()
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        reading.set()
        await go_on.wait()
        return "as it was before the commit"

    task = asyncio.create_task(source.get(load=slow))
    await reading.wait()
    source.cache.drop_row(source.row())
    go_on.set()
    assert await task == "as it was before the commit"
    source.value = "as it is"
    assert await source.get() == "as it is"


async def test_where_others_write_too_values_live_for_seconds() -> None:
    source = Source(exclusive=False)
    await source.get()
    source.now = 2.9
    await source.get()
    assert source.reads == 1
    source.now = 3.1
    await source.get()
    assert source.reads == 2


async def test_the_least_recently_used_goes_first() -> None:
    source = Source(size=2)
    for key in ("a", "b", "a", "c"):
        await source.get(key)
    assert source.reads == 3
    await source.get("a")
    assert source.reads == 3
    await source.get("b")
    assert source.reads == 4
