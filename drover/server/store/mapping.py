"""How a type's fields lie in its table: filterable ones in columns, the rest together in one JSON document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from drover.server.store.record import Record

_encode = msgspec.json.Encoder(order=None).encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class TypeMap:
    """The table of a stored type and the column of each of its column fields (API field name -> column name).

    The table must have a primary key ``id`` and a text column ``data`` for the fields without a column.
    """

    name: str
    table: sa.Table
    columns: Mapping[str, str]

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A complete row for an insert. Fields that are None are left out of the JSON."""
        row: dict[str, Any] = dict.fromkeys(self.columns.values())
        rest: dict[str, Any] = {}
        for field, value in values.items():
            column = self.columns.get(field)
            if column is not None:
                row[column] = value
            elif value is not None:
                rest[field] = value
        row["data"] = _encode(rest).decode()
        return row

    def encode_json(self, values: Mapping[str, Any]) -> str:
        """The JSON column for a record's values."""
        columns = self.columns
        return _encode({f: v for f, v in values.items() if v is not None and f not in columns}).decode()

    def decode(self, row: sa.RowMapping) -> Record:
        data = row["data"]
        values: dict[str, Any] = _decode(data) if data else {}
        for field, column in self.columns.items():
            values[field] = row[column]
        return Record(self.name, int(row["id"]), values)
