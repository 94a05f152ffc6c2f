"""A real store, on SQLite or on whichever database a test asks for, and an engine over the declared processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from drover.server.lifecycle import Engine, Handlers
from drover.server.resources import catalog
from drover.server.resources.tables import column_fields, table
from drover.server.store import Database, Store, TypeMap
from drover.server.store.database import database_url
from drover.server.store.schema import migrate
from tests.server.data_dirs import prepare
from tests.server.databases import mariadb, postgresql

ALL_DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.database),
    pytest.param("mariadb", marks=pytest.mark.database),
]


def type_maps() -> list[TypeMap]:
    names = sorted({name for name, each in catalog().resources.items() if each.stored and each.parent is None})
    return [TypeMap(name, table(name), column_fields(name)) for name in names]


async def open_store(path: Path, url: str = "") -> Store:
    """A started store, on a new SQLite file in ``path`` unless a URL is given."""
    if not url:
        await prepare(path)
    database = Database(database_url(url, data_dir=path))
    await migrate(database)
    store = Store(database, type_maps())
    await store.start()
    return store


class Compiled(dict[Any, Any]):
    """Statements that SQLAlchemy has compiled for SQLite, whichever engine they were for.

    Left to itself it compiles a statement once an engine. A test has engines of its own, and would spend a third of
    its time on statements that the test before it has compiled.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        _dialect, *rest = key
        return super().get(tuple(rest), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        _dialect, *rest = key
        super().__setitem__(tuple(rest), compiled)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    compiled = Compiled()

    def engine(url: URL, **options: Any) -> AsyncEngine:
        shared = {"execution_options": {"compiled_cache": compiled}} if url.get_backend_name() == "sqlite" else {}
        return create_async_engine(url, **options, **shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("drover.server.store.database.create_async_engine", engine)
        yield


@pytest.fixture(scope="session")
def new_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    with postgresql(tmp_path_factory.mktemp("postgresql")) as create:
        yield create


@pytest.fixture(scope="session")
def new_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as create:
        yield create


@pytest.fixture
def database_address(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database. Parametrise indirectly with ALL_DATABASES to run a test on each kind."""
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        return ""
    create: Callable[[], str] = request.getfixturevalue(f"new_{kind}")
    return create()


@pytest.fixture
async def store(tmp_path: Path, database_address: str) -> AsyncIterator[Store]:
    store = await open_store(tmp_path, database_address)
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
