"""A real store on a temporary SQLite database, and an engine over the declared processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drover.server.lifecycle import Engine, Handlers
from drover.server.resources import catalog
from drover.server.resources.tables import column_fields, table
from drover.server.store import Database, Store, TypeMap
from drover.server.store.database import database_url
from drover.server.store.schema import migrate


def type_maps() -> list[TypeMap]:
    names = sorted({name for name, each in catalog().resources.items() if each.stored and each.parent is None})
    return [TypeMap(name, table(name), column_fields(name)) for name in names]


async def open_store(path: Path) -> Store:
    database = Database(database_url("", data_dir=path))
    await migrate(database)
    store = Store(database, type_maps())
    await store.start()
    return store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path)
    yield store
    await store.stop()


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def engine(store: Store, handlers: Handlers) -> AsyncIterator[Engine]:
    engine = Engine(store, catalog().processes, handlers, server_id="test")
    yield engine
    await engine.stop()
