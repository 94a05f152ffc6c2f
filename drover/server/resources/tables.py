"""The database tables, derived from the declarations: one table a stored base type.

What can be filtered is a column; all other fields of a row live in its ``data`` column as JSON text. So a new
field needs no migration, and a list never has to open JSON to find its rows. Every row carries the same standard
columns, which lets the server treat all types alike.

Ids are assigned by the server, never by the database: a row and the process that creates it can be written
together on any of the three databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from drover.server.resources import catalog
from drover.server.resources.model import Field, Resource

STANDARD_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "id": Field("int", column=True),
        "kind": Field("string", column=True, max_length=255),
        "uuid": Field("string", column=True, max_length=128),
        "name": Field("string", column=True, max_length=255),
        "description": Field("string", column=True, max_length=1024),
        "state": Field("string", column=True, max_length=128),
        "created": Field("date", column=True),
        "removed": Field("date", column=True),
        "removeTime": Field("date", column=True),
    }
)
INDEXED = frozenset(
    {"deploymentUnitUuid", "externalId", "key", "ownerId", "poolId", "processName", "publicValue", "resourceId"}
    | {"runAfter"}
)  # beside every reference: what the server looks rows up by
COLUMN_LENGTH = 255  # characters of a text column whose field declares no longest length
LONGEST_VARCHAR = 4096  # longer text is TEXT: MariaDB counts every VARCHAR against 64 KiB a row
INDEX_PREFIX = 255  # characters of longer text that an index of MariaDB holds
IDENTITY = "reference[identity]"  # no row: a provider and its own id, such as ``github_user:12``
LONGEST_NAME = 63  # of an index in PostgreSQL

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

metadata = sa.MetaData(naming_convention={"pk": "pk_%(table_name)s"})


def snake_case(name: str) -> str:
    """``hostIpAddressMap`` -> ``host_ip_address_map``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@cache
def column_fields(base_type: str) -> Mapping[str, str]:
    """The fields of a stored base type that are columns, with the column of each, without ``data``."""
    return MappingProxyType({name: snake_case(name) for name in _fields(catalog().resource(base_type))})


def table(base_type: str) -> sa.Table:
    """The table of a stored base type; ``KeyError`` for any other type."""
    name = snake_case(base_type)
    try:
        return metadata.tables[name]
    except KeyError:
        raise KeyError(f"{base_type} has no table; Catalog.stored_base() names the one that keeps it") from None


def _fields(resource: Resource) -> Mapping[str, Field]:
    declared = {name: found for name, found in resource.fields.items() if found.column and name != "data"}
    ordered = {name: declared.get(name, standard) for name, standard in STANDARD_FIELDS.items()}
    ordered.update((name, declared[name]) for name in sorted(declared))
    return ordered


def _column(name: str, field: Field) -> sa.Column[Any]:
    if name == "id":
        return sa.Column("id", ID, primary_key=True, autoincrement=False)
    return sa.Column(snake_case(name), _column_type(field))


def _column_type(field: Field) -> sa.types.TypeEngine[Any]:
    if field.type == IDENTITY:
        return sa.String(COLUMN_LENGTH)
    if field.type in ("int", "date") or field.type.startswith("reference["):
        return sa.BigInteger()
    if field.type == "boolean":
        return sa.Boolean()
    if (field.max_length or 0) > LONGEST_VARCHAR:
        return LONG_TEXT
    return sa.String(field.max_length or COLUMN_LENGTH)


def _is_reference(field: Field) -> bool:
    return field.type.startswith("reference[")


def _indexes(resource: Resource, fields: Mapping[str, Field]) -> Iterator[sa.Index]:
    if "accountId" in fields:
        yield sa.Index(_index_name(resource, "account_id", "removed", "id"), "account_id", "removed", "id")
    if "uuid" in resource.fields:
        yield sa.Index(_index_name(resource, "uuid"), "uuid")
    if "state" in resource.fields:
        living = sa.text("removed IS NULL")
        yield sa.Index(_index_name(resource, "state"), "state", sqlite_where=living, postgresql_where=living)
    for name, field in fields.items():
        column = snake_case(name)
        if (_is_reference(field) and name != "accountId") or name in INDEXED:
            length = {column: INDEX_PREFIX} if _is_long(field) else None
            yield sa.Index(_index_name(resource, column), column, mysql_length=length, mariadb_length=length)


def _index_name(resource: Resource, *columns: str) -> str:
    suffix = "_".join(columns)
    name = f"ix_{snake_case(resource.name)}_{suffix}"
    return name if len(name) <= LONGEST_NAME else f"ix_{resource.id_prefix[1:]}_{suffix}"


def _is_long(field: Field) -> bool:
    return field.type in ("string", "enum", "password") and (field.max_length or 255) > INDEX_PREFIX


def _build(resource: Resource) -> None:
    fields = _fields(resource)
    columns = [_column(name, field) for name, field in fields.items()]
    sa.Table(
        snake_case(resource.name),
        metadata,
        *columns,
        sa.Column("data", LONG_TEXT),
        *_indexes(resource, fields),
        mysql_charset="utf8mb4",
        mariadb_charset="utf8mb4",
    )


for _name, _resource in sorted(catalog().resources.items()):
    if _resource.stored and _resource.parent is None:
        _build(_resource)
