from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from drover.server.resources import catalog
from drover.server.resources.tables import STANDARD_FIELDS, column_fields, metadata, snake_case, table

DIALECTS: dict[str, sa.Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
    "mariadb": mysql.dialect(),
}
ROW_BYTES = 65535  # of all VARCHAR columns of a row in MariaDB


@pytest.mark.parametrize(
    ("name", "expected"),
    [("stack", "stack"), ("ipAddress", "ip_address"), ("hostIpAddressMap", "host_ip_address_map")],
)
def test_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_there_is_a_table_for_each_stored_base_type() -> None:
    stored = {catalog().stored_base(name) for name, item in catalog().resources.items() if item.stored}
    assert set(metadata.tables) == {snake_case(name) for name in stored}


@pytest.mark.parametrize("name", ["instanceHostMap", "nic", "launchConfig", "container", "storagePoolHostMap"])
def test_other_types_have_none(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        table(name)


def test_standard_columns() -> None:
    for name in metadata.tables:
        columns = metadata.tables[name].columns
        assert {snake_case(field) for field in STANDARD_FIELDS} | {"data"} <= set(columns.keys())


def test_columns_by_type() -> None:
    columns = table("instance").columns
    assert isinstance(columns["id"].type, sa.BigInteger)
    assert columns["id"].autoincrement is False
    assert isinstance(columns["host_id"].type, sa.BigInteger)
    assert isinstance(columns["created"].type, sa.BigInteger)
    assert isinstance(columns["system"].type, sa.Boolean)
    assert isinstance(columns["data"].type, sa.Text)
    assert isinstance(columns["uuid"].type, sa.String)
    assert columns["uuid"].type.length == 128
    assert column_fields("instance")["deploymentUnitUuid"] == "deployment_unit_uuid"
    assert "data" not in column_fields("instance")
    assert "imageUuid" not in column_fields("instance")


def test_relations_without_join_tables_are_columns() -> None:
    assert column_fields("ipAddress")["hostId"] == "host_id"
    assert column_fields("ipAddress")["instanceId"] == "instance_id"
    assert column_fields("storagePool")["hostId"] == "host_id"
    assert column_fields("instance")["hostId"] == "host_id"


def test_every_reference_and_every_account_is_indexed() -> None:
    for base_type in {catalog().stored_base(name) for name, item in catalog().resources.items() if item.stored}:
        first = {index.columns[0].name for index in table(base_type).indexes}
        for name, field in catalog().resource(base_type).fields.items():
            if field.column and field.type.startswith("reference["):
                assert snake_case(name) in first, f"{base_type}.{name}"


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_every_database_accepts_the_definitions(dialect: str) -> None:
    longest = 64 if dialect == "mariadb" else 63
    for item in metadata.tables.values():
        assert str(CreateTable(item).compile(dialect=DIALECTS[dialect]))
        for index in item.indexes:
            assert str(CreateIndex(index).compile(dialect=DIALECTS[dialect]))
            assert len(index.name or "") <= longest


def test_rows_fit_into_mariadb() -> None:
    for item in metadata.tables.values():
        lengths = [column.type.length or 0 for column in item.columns if type(column.type) is sa.String]
        assert sum(lengths) * 4 < ROW_BYTES, item.name


def test_sqlite_assigns_no_ids() -> None:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table("stack").insert().values(id=7, name="wëb", system=False))
        row = connection.execute(sa.select(table("stack"))).one()
    assert (row.id, row.name) == (7, "wëb")
    assert "AUTOINCREMENT" not in str(CreateTable(table("stack")).compile(dialect=DIALECTS["sqlite"]))
    engine.dispose()
