"""What a commit can refuse, and why. The callers turn these into answers that a user understands."""

from __future__ import annotations

from typing import Any


class StoreError(Exception):
    """Base of everything that the store refuses."""


class RowMissing(StoreError):
    """A row that the plan wants to change does not exist (any more)."""

    def __init__(self, type_name: str, row_id: int) -> None:
        super().__init__(f"{type_name} {row_id} does not exist")
        self.type_name = type_name
        self.row_id = row_id


class GuardFailed(StoreError):
    """A row no longer looks as the plan assumed: somebody else was faster."""

    def __init__(self, type_name: str, row_id: int, field: str, *, expected: Any, found: Any) -> None:
        super().__init__(f"{type_name} {row_id}: {field} is {found!r}, not {expected!r}")
        self.type_name = type_name
        self.row_id = row_id
        self.field = field
        self.expected = expected
        self.found = found


class ClaimTaken(StoreError):
    """A name, address or port that may exist only once belongs to another resource."""

    def __init__(self, key: str, owner_type: str, owner_id: int) -> None:
        super().__init__(f"{key} is taken by {owner_type} {owner_id}")
        self.key = key
        self.owner_type = owner_type
        self.owner_id = owner_id
