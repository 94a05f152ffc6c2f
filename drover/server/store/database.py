"""Connections to SQLite, PostgreSQL or MariaDB, and the few places where they differ.

Writes go through one transaction at a time per server (the committer's), reads through a small pool. SQLite runs
in WAL mode so that readers never wait for the writer, and with ``synchronous=FULL`` so that a commit that was
acknowledged survives a power cut; group commit keeps the price of that low.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from drover.server.store.errors import StoreError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mysql+asyncmy",
}
_READERS = 4


def database_url(text: str, *, data_dir: Path) -> URL:
    """The connection address for ``--db``: empty or ``sqlite`` for a file in the data directory, else a URL."""
    if text in ("", "sqlite"):
        return URL.create("sqlite+aiosqlite", database=str(data_dir / "drover.db"))
    url = make_url(text)
    driver = _DRIVERS.get(url.drivername.split("+")[0])
    if driver is None:
        known = ", ".join(sorted(_DRIVERS))
        raise StoreError(f"--db: unknown database {url.drivername!r}; use one of {known}")
    return url.set(drivername=driver)


class Database:
    """The engines behind a store. ``statements`` counts what was sent, for benches and tests."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.dialect = url.get_backend_name()
        self.statements = 0
        self.rows_written = 0
        if self.dialect == "sqlite" and url.database:
            Path(url.database).touch(mode=0o600)  # it holds hashes and encrypted secrets: nobody else's business
        self._writer = self._engine(pool_size=1, writer=True)
        self._reader = self._engine(pool_size=_READERS, writer=False)

    @property
    def exclusive(self) -> bool:
        """True where only one server can own the database, so that no other server can take over a lease."""
        return self.dialect == "sqlite"

    def _engine(self, *, pool_size: int, writer: bool) -> AsyncEngine:
        options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0}
        if self.dialect == "sqlite":
            options["connect_args"] = {"timeout": 30}
            if not writer:
                options["isolation_level"] = "AUTOCOMMIT"
        else:
            options["pool_pre_ping"] = True
            options["pool_recycle"] = 1800
            if self.dialect == "mysql":
                options["connect_args"] = {"charset": "utf8mb4"}
                options["isolation_level"] = "READ COMMITTED" if writer else "AUTOCOMMIT"
            elif not writer:
                options["isolation_level"] = "AUTOCOMMIT"
        engine = create_async_engine(self.url, **options)
        sa.event.listen(engine.sync_engine, "before_cursor_execute", self._count)
        if self.dialect == "sqlite":
            sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            if writer:
                sa.event.listen(engine.sync_engine, "begin", _begin_immediate)
        return engine

    def _count(self, _conn: Any, _cursor: Any, _text: str, parameters: Any, _context: Any, many: bool) -> None:
        self.statements += 1
        self.rows_written += len(parameters) if many else 0

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end of the block, rolled back by an exception."""
        async with self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single reads, each of which sees everything committed before it."""
        async with self._reader.connect() as connection:
            yield connection

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us, see _begin_immediate
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "cache_size=-4000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at once: upgrading a read lock later can fail where waiting cannot help."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
