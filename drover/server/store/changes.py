"""A plan of writes: what to insert, change and claim, and what must still be true for it to make sense.

Building a plan touches nothing. Committing it (:meth:`Store.commit`) applies all of it or, when a guard does not
hold or a claim is taken, none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.server.store.record import Record

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Touched:
    """One row as a commit left it. ``before`` is None for an insert, ``after`` is None for a delete."""

    type: str
    id: int
    before: Record | None
    after: Record | None

    @property
    def account_id(self) -> int | None:
        record = self.after or self.before
        return None if record is None else record.account_id

    def changed(self, field_name: str) -> bool:
        before = None if self.before is None else self.before[field_name]
        after = None if self.after is None else self.after[field_name]
        return bool(before != after)


@dataclass(frozen=True, slots=True)
class Committed:
    """The rows of a committed plan, as they are now."""

    touched: tuple[Touched, ...]
    _rows: dict[Key, Record] = field(default_factory=dict, init=False, repr=False, compare=False)

    def record(self, like: Record) -> Record:
        """The present form of a row of the plan (the given one, when the plan did not touch it)."""
        if not self._rows:  # once a plan: a bulk plan asks for each of its thousands of rows
            self._rows.update({(row.type, row.id): row.after for row in self.touched if row.after is not None})
        return self._rows.get(like.key, like)


@dataclass(frozen=True, slots=True)
class Guard:
    """The row must have one of these values in this field."""

    type: str
    id: int
    field: str
    allowed: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that only one resource may hold at a time, such as a name within a scope, an address, a host's port."""

    key: str
    owner: Key


@dataclass(slots=True)
class Changes:
    """One plan. Methods return what they planned so that a plan reads as prose."""

    next_id: Callable[[str], int]
    inserts: dict[Key, Record] = field(default_factory=dict)
    updates: dict[Key, dict[str, Any]] = field(default_factory=dict)
    deletes: set[Key] = field(default_factory=set)
    guards: list[Guard] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    releases: list[Claim] = field(default_factory=list)
    release_owners: set[Key] = field(default_factory=set)
    callbacks: list[Callable[[Committed], None]] = field(default_factory=list)

    def insert(self, type_name: str, values: Mapping[str, Any]) -> Record:
        """Plan a new row. Its id is known at once, so that other rows of the plan may refer to it."""
        row_id = self.next_id(type_name)
        record = Record(type_name, row_id, {**values, "id": row_id})
        self.inserts[record.key] = record
        return record

    def update(self, record: Record, values: Mapping[str, Any]) -> Record:
        """Plan new values for some fields; the others keep what they have when the plan is committed."""
        planned = self.inserts.get(record.key)
        if planned is not None:
            planned.values.update(values)
            return planned
        self.updates.setdefault(record.key, {}).update(values)
        return record.merged(values)

    def delete(self, record: Record) -> None:
        """Plan to delete the row for good (purging). Removal as the API knows it is an update of ``removed``."""
        self.deletes.add(record.key)

    def guard(self, record: Record, **expected: Any) -> None:
        """The plan holds only while these fields have these values; a tuple stands for any of its members."""
        for name, value in expected.items():
            allowed = value if isinstance(value, tuple) else (value,)
            self.guards.append(Guard(record.type, record.id, name, allowed))

    def claim(self, key: str, owner: Record) -> None:
        """Plan to hold ``key`` (at most 255 characters) for ``owner``; holding it already is fine."""
        self.claims.append(Claim(key, owner.key))

    def release(self, key: str, owner: Record) -> None:
        """Plan to give up a key; nothing happens if another resource holds it."""
        self.releases.append(Claim(key, owner.key))

    def release_all(self, owner: Record) -> None:
        """Plan to give up every key that the resource holds."""
        self.release_owners.add(owner.key)

    def after_commit(self, callback: Callable[[Committed], None]) -> None:
        """Run a short, non-blocking function once the plan is durable."""
        self.callbacks.append(callback)

    def include(self, other: Changes) -> None:
        """Take over everything another plan wants, to commit both as one."""
        self.inserts.update(other.inserts)
        for key, values in other.updates.items():
            self.updates.setdefault(key, {}).update(values)
        self.deletes |= other.deletes
        self.guards.extend(other.guards)
        self.claims.extend(other.claims)
        self.releases.extend(other.releases)
        self.release_owners |= other.release_owners
        self.callbacks.extend(other.callbacks)

    @property
    def empty(self) -> bool:
        return not (
            self.inserts
            or self.updates
            or self.deletes
            or self.claims
            or self.releases
            or self.release_owners
            or self.callbacks
        )

    def existing_keys(self) -> Iterable[Key]:
        """Existing rows that must be read before the plan can be judged."""
        yield from self.updates
        yield from self.deletes
        for guard in self.guards:
            if (guard.type, guard.id) not in self.inserts:
                yield (guard.type, guard.id)
