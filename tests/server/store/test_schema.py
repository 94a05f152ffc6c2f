from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from drover.server.resources.tables import metadata as resource_metadata
from drover.server.store import Database, StoreError
from drover.server.store import internal as internal_tables
from drover.server.store.database import database_url
from drover.server.store.schema import _SCRIPTS, HEAD, migrate

pytestmark = pytest.mark.anyio


@pytest.fixture
def everything() -> sa.MetaData:
    """All tables that the program declares."""
    merged = sa.MetaData()
    for source in (resource_metadata, internal_tables.metadata):
        for table in source.sorted_tables:
            table.to_metadata(merged)
    return merged


async def test_the_migrations_make_what_the_declarations_say(tmp_path: Path, everything: sa.MetaData) -> None:
    database = Database(database_url("", data_dir=tmp_path))
    await migrate(database)

    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), everything))

    async with database.write() as connection:
        found = await connection.run_sync(differences)
    await database.close()
    # The version table is Alembic's own; everything else must agree.
    assert [each for each in found if "alembic_version" not in repr(each)] == []


def test_the_known_head_is_the_last_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_a_newer_structure_is_refused_with_advice(tmp_path: Path) -> None:
    database = Database(database_url("", data_dir=tmp_path))
    await migrate(database)
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="start the newer release again"):
        await migrate(database)
    await database.close()


async def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    database = Database(database_url("", data_dir=tmp_path))
    await migrate(database)
    before = database.statements
    await migrate(database)
    await database.close()
    assert database.statements - before == 1


async def test_the_database_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = Database(database_url("", data_dir=tmp_path))
    await migrate(database)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("drover.db*"))
    await database.close()
