"""A row, seen as the API's fields: the same names whether a field has a column of its own or lives in the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Record:
    """One stored resource as it was when it was read. It does not follow later changes; read it again for those.

    ``type`` is the stored base type (``instance``, not ``container``); ``kind`` tells the sub-type.
    """

    __slots__ = ("id", "type", "values")

    def __init__(self, type_name: str, row_id: int, values: dict[str, Any]) -> None:
        self.type = type_name
        self.id = row_id
        self.values = values

    def __getitem__(self, field: str) -> Any:
        return self.values.get(field)

    def get(self, field: str, default: Any = None) -> Any:
        value = self.values.get(field)
        return default if value is None else value

    def merged(self, values: Mapping[str, Any]) -> Record:
        return Record(self.type, self.id, {**self.values, **values})

    @property
    def key(self) -> tuple[str, int]:
        return (self.type, self.id)

    @property
    def kind(self) -> str:
        return str(self.values.get("kind") or self.type)

    @property
    def state(self) -> str:
        return str(self.values.get("state") or "")

    @property
    def name(self) -> str | None:
        value = self.values.get("name")
        return None if value is None else str(value)

    @property
    def uuid(self) -> str:
        return str(self.values.get("uuid") or "")

    @property
    def account_id(self) -> int | None:
        value = self.values.get("accountId")
        return None if value is None else int(value)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.id} {self.name or ''} {self.state}>"
