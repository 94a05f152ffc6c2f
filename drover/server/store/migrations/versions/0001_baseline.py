"""The tables of the first release, read from the description beside this file.

The description is frozen: what changes later is a migration of its own, so that an old database and a new one end up
alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TYPES: dict[str, Any] = {
    "id": sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    "bigint": sa.BigInteger(),
    "boolean": sa.Boolean(),
    "longtext": sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb"),
    "key": sa.String(255).with_variant(sa.String(255, collation="utf8mb4_bin"), "mysql", "mariadb"),
}
_INDEX = re.compile(r"index (?P<name>\S+) \((?P<columns>[^)]*)\)(?P<living> living)?( prefix\((?P<prefix>\d+)\))?$")


def upgrade() -> None:
    for name, lines in _tables():
        columns = [_column(line) for line in lines if not line.startswith("index ")]
        op.create_table(name, *columns, mysql_charset="utf8mb4", mariadb_charset="utf8mb4")
        for line in lines:
            if line.startswith("index "):
                _create_index(name, line)


def downgrade() -> None:
    for name, _ in _tables():
        op.drop_table(name)


def _tables() -> Iterator[tuple[str, list[str]]]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    for block in re.split(r"\n(?=\S)", text.strip()):
        name, *lines = block.splitlines()
        yield name, [line.strip() for line in lines]


def _column(line: str) -> sa.Column[Any]:
    name, kind, *flags = line.split()
    length = re.fullmatch(r"text\((\d+)\)", kind)
    column_type = sa.String(int(length[1])) if length else _TYPES[kind]
    primary = "primary" in flags
    return sa.Column(
        name,
        column_type,
        primary_key=primary,
        autoincrement=False,
        nullable=not (primary or "required" in flags),
    )


def _create_index(table: str, line: str) -> None:
    found = _INDEX.match(line)
    assert found is not None, line
    columns = found["columns"].split(",")
    options: dict[str, Any] = {}
    if found["living"]:
        living = sa.text("removed IS NULL")
        options |= {"sqlite_where": living, "postgresql_where": living}
    if found["prefix"]:
        length = dict.fromkeys(columns, int(found["prefix"]))
        options |= {"mysql_length": length, "mariadb_length": length}
    op.create_index(found["name"], table, columns, **options)
