"""What a request wants to write, before it is written: rules judge it, and may complete it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.server.api.call import Call
from drover.server.api.errors import ApiError, invalid
from drover.server.resources import Schema
from drover.server.store import Changes, Record


@dataclass(frozen=True, slots=True)
class WantedClaim:
    """A key that must be free, and the refusal if it is not."""

    key: str
    refusal: ApiError


@dataclass(slots=True)
class Draft:
    """The object that would result. ``values`` holds only what the request sets; ``record`` is None on create.

    Rules may change ``values``, ask for unique keys, add rows of other types, and put data into the process.
    """

    call: Call
    schema: Schema
    base_type: str
    values: dict[str, Any]
    record: Record | None = None
    claims: list[WantedClaim] = field(default_factory=list)
    releases: list[str] = field(default_factory=list)
    process_data: dict[str, Any] = field(default_factory=dict)
    plans: list[Callable[[Changes, Record], None]] = field(default_factory=list)
    reveal: dict[str, Any] = field(default_factory=dict)  # shown instead of what is stored, in the answer to a create

    @property
    def creating(self) -> bool:
        return self.record is None

    @property
    def kind(self) -> str:
        return str(self.get("kind") or self.schema.id)

    def get(self, name: str) -> Any:
        """A field of the resulting object."""
        if name in self.values:
            return self.values[name]
        return None if self.record is None else self.record[name]

    def changes(self, name: str) -> bool:
        return name in self.values and (self.record is None or self.record[name] != self.values[name])

    @property
    def resulting(self) -> Mapping[str, Any]:
        return self.values if self.record is None else {**self.record.values, **self.values}

    def claim(self, key: str, *, field_name: str, message: str, code: str = "NotUnique") -> None:
        """Hold a key that only one resource may have, such as a name within a scope."""
        self.claims.append(WantedClaim(key, invalid(code, field_name, message)))

    def also(self, plan: Callable[[Changes, Record], None]) -> None:
        """Have something else written in the same plan; the function is given the row that results."""
        self.plans.append(plan)

    def plan(self, changes: Changes, record: Record) -> None:
        """Add to the plan of the row what the rules asked for."""
        for key in self.releases:
            changes.release(key, record)
        for wanted in self.claims:
            changes.claim(wanted.key, record)
        for plan in self.plans:
            plan(changes, record)

    def refusal_of(self, key: str) -> ApiError | None:
        return next((wanted.refusal for wanted in self.claims if wanted.key == key), None)
