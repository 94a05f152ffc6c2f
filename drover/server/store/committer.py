"""Group commit: plans that wait together are judged and written in one transaction.

While one transaction is being written, new plans gather; the next transaction takes all of them. Each plan is judged
against the rows as the plans before it leave them, so a plan that loses a race is refused alone and the others go
through. What remains is written in bulk: one insert and one update statement per table and shape.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from drover.server.store.changes import Changes, Committed, Guard, Key, Touched
from drover.server.store.database import Database
from drover.server.store.errors import ClaimTaken, GuardFailed, RowMissing, StoreError
from drover.server.store.internal import claim as claim_table
from drover.server.store.mapping import TypeMap
from drover.server.store.record import Record

log = structlog.get_logger(__name__)

_LARGEST_BATCH = 1000
_IN_CHUNK = 500
_ATTEMPTS = 5

T = TypeVar("T")


@dataclass(slots=True)
class _Pending:
    changes: Changes
    done: asyncio.Future[Committed]


@dataclass(slots=True)
class _Batch:
    """What one transaction will write, growing plan by plan."""

    rows: dict[Key, Record | None]
    holders: dict[str, Key]
    held: dict[Key, set[str]]
    dirty: dict[Key, set[str]] = field(default_factory=dict)
    inserted: dict[Key, Record] = field(default_factory=dict)
    deleted: set[Key] = field(default_factory=set)
    original_holders: dict[str, Key] = field(default_factory=dict)

    def judge(self, plan: Changes) -> Committed:
        """Take a plan in, or raise and leave the batch as it was."""
        self._check_guards(plan)
        self._check_claims(plan)
        touched = [Touched(key[0], key[1], None, record) for key, record in plan.inserts.items()]
        for key, record in plan.inserts.items():
            self.inserted[key] = self.rows[key] = record
        for key, values in plan.updates.items():
            touched.append(self._update(key, values))
        for key in plan.deletes:
            touched.append(Touched(key[0], key[1], self.rows[key], None))
            self.rows[key] = None
            self.deleted.add(key)
        self._move_claims(plan)
        return Committed(tuple(touched))

    def _check_guards(self, plan: Changes) -> None:
        for key in (*plan.updates, *plan.deletes):
            if key not in plan.inserts and self.rows.get(key) is None:
                raise RowMissing(*key)
        for guard in plan.guards:
            self._check(guard, plan.inserts.get((guard.type, guard.id)) or self.rows.get((guard.type, guard.id)))

    @staticmethod
    def _check(guard: Guard, row: Record | None) -> None:
        if row is None:
            raise RowMissing(guard.type, guard.id)
        found = row[guard.field]
        if found not in guard.allowed:
            raise GuardFailed(guard.type, guard.id, guard.field, expected=guard.allowed, found=found)

    def _check_claims(self, plan: Changes) -> None:
        freed = {c.key for c in plan.releases if self.holders.get(c.key) == c.owner}
        freed |= {key for owner in plan.release_owners for key in self.held.get(owner, ())}
        mine: dict[str, Key] = {}
        for wanted in plan.claims:
            holder = mine.get(wanted.key)
            if holder is None and wanted.key not in freed:
                holder = self.holders.get(wanted.key)
            if holder is not None and holder != wanted.owner:
                raise ClaimTaken(wanted.key, *holder)
            mine[wanted.key] = wanted.owner

    def _update(self, key: Key, values: Mapping[str, Any]) -> Touched:
        before = self.rows[key]
        assert before is not None
        changed = {name for name, value in values.items() if before[name] != value}
        after = before.merged(values)
        self.rows[key] = after
        if key in self.inserted:
            self.inserted[key] = after
        elif changed:
            self.dirty.setdefault(key, set()).update(changed)
        return Touched(key[0], key[1], before, after)

    def _move_claims(self, plan: Changes) -> None:
        for release in plan.releases:
            if self.holders.get(release.key) == release.owner:
                self._drop(release.key)
        for owner in plan.release_owners:
            for key in tuple(self.held.get(owner, ())):
                self._drop(key)
        for wanted in plan.claims:
            self.holders[wanted.key] = wanted.owner
            self.held.setdefault(wanted.owner, set()).add(wanted.key)

    def _drop(self, key: str) -> None:
        owner = self.holders.pop(key)
        self.held.get(owner, set()).discard(key)


class Committer:
    """The single writer of a server. ``listeners`` hear of every committed row, in commit order."""

    def __init__(
        self,
        database: Database,
        types: Mapping[str, TypeMap],
        listeners: list[Callable[[Sequence[Touched]], None]],
    ) -> None:
        self._database = database
        self._types = types
        self._listeners = listeners
        self._pending: list[_Pending] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="store-committer")

    async def stop(self) -> None:
        """Write what is waiting, then stop."""
        task, self._task = self._task, None
        if task is not None:
            self._wake.set()
            await task

    async def commit(self, changes: Changes) -> Committed:
        if self._task is None:
            raise StoreError("the store is closed")
        pending = _Pending(changes, asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        self._wake.set()
        return await pending.done

    async def _run(self) -> None:
        while self._task is not None or self._pending:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch, self._pending = self._pending[:_LARGEST_BATCH], self._pending[_LARGEST_BATCH:]
                await self._commit_together(batch)

    async def _commit_together(self, pending: list[_Pending]) -> None:
        try:
            outcomes = await self._retrying([each.changes for each in pending])
        except (DBAPIError, OSError) as error:
            await self._commit_apart(pending, error)
            return
        self._settle(pending, outcomes)

    async def _commit_apart(self, pending: list[_Pending], error: Exception) -> None:
        """A batch that the database refuses holds a plan that spoils it for the others: find it by going one by one."""
        if len(pending) == 1:
            _fail(pending[0], error)
            return
        for each in pending:
            await self._commit_together([each])

    async def _retrying(self, plans: list[Changes]) -> list[Committed | StoreError]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._transaction(plans)
            except (OperationalError, IntegrityError, OSError) as error:
                # A dead-lock, a lost connection, or a claim that another server took between our look and our write.
                if attempt == _ATTEMPTS:
                    raise
                log.info("store.retry", attempt=attempt, error=str(error)[:200])
                await asyncio.sleep(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    async def _transaction(self, plans: list[Changes]) -> list[Committed | StoreError]:
        async with self._database.write() as connection:
            rows = await self._load_rows(connection, {key for plan in plans for key in plan.existing_keys()})
            holders, held = await self._load_claims(connection, plans)
            batch = _Batch(rows, holders, held, original_holders=dict(holders))
            outcomes: list[Committed | StoreError] = []
            for plan in plans:
                try:
                    outcomes.append(batch.judge(plan))
                except StoreError as refusal:
                    outcomes.append(refusal)
            await self._write(connection, batch)
        return outcomes

    async def _load_rows(self, connection: AsyncConnection, keys: set[Key]) -> dict[Key, Record | None]:
        wanted: dict[str, list[int]] = defaultdict(list)
        for type_name, row_id in keys:
            wanted[type_name].append(row_id)
        rows: dict[Key, Record | None] = {}
        for type_name in sorted(wanted):
            mapping = self._types[type_name]
            for ids in _chunks(sorted(wanted[type_name])):
                statement = (
                    sa.select(mapping.table)
                    .where(mapping.table.c.id.in_(ids))
                    .order_by(mapping.table.c.id)
                    .with_for_update()
                )
                for row in (await connection.execute(statement)).mappings():
                    record = mapping.decode(row)
                    rows[record.key] = record
        return rows

    async def _load_claims(
        self, connection: AsyncConnection, plans: list[Changes]
    ) -> tuple[dict[str, Key], dict[Key, set[str]]]:
        keys = {c.key for plan in plans for c in (*plan.claims, *plan.releases)}
        owners: dict[str, list[int]] = defaultdict(list)
        for plan in plans:
            for type_name, row_id in plan.release_owners:
                owners[type_name].append(row_id)
        table = claim_table.c
        conditions: list[sa.ColumnElement[bool]] = [table.key.in_(chunk) for chunk in _chunks(sorted(keys))]
        for type_name, ids in owners.items():
            conditions.extend(
                sa.and_(table.owner_type == type_name, table.owner_id.in_(chunk)) for chunk in _chunks(sorted(ids))
            )
        holders: dict[str, Key] = {}
        held: dict[Key, set[str]] = {}
        for condition in conditions:
            found = await connection.execute(sa.select(claim_table).where(condition).with_for_update())
            for row in found:
                owner = (row.owner_type, row.owner_id)
                holders[row.key] = owner
                held.setdefault(owner, set()).add(row.key)
        return holders, held

    async def _write(self, connection: AsyncConnection, batch: _Batch) -> None:
        await self._write_claims(connection, batch)
        inserts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for (type_name, _), record in batch.inserted.items():
            inserts[type_name].append(self._types[type_name].encode(record.values))
        for type_name, rows in inserts.items():
            await connection.execute(sa.insert(self._types[type_name].table), rows)
        updates: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        for key, fields in batch.dirty.items():
            current = batch.rows[key]
            if current is not None:
                columns, row = self._updated_row(current, fields)
                updates[key[0], columns].append(row)
        for (type_name, columns), rows in updates.items():
            table = self._types[type_name].table
            values: dict[str, Any] = {name: sa.bindparam(f"v_{name}") for name in columns}
            await connection.execute(sa.update(table).where(table.c.id == sa.bindparam("row_id")).values(values), rows)
        deletes: dict[str, list[int]] = defaultdict(list)
        for type_name, row_id in batch.deleted:
            deletes[type_name].append(row_id)
        for type_name, ids in deletes.items():
            table = self._types[type_name].table
            for chunk in _chunks(ids):
                await connection.execute(sa.delete(table).where(table.c.id.in_(chunk)))

    def _updated_row(self, record: Record, fields: set[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        mapping = self._types[record.type]
        columns = sorted(mapping.columns[name] for name in fields if name in mapping.columns)
        row: dict[str, Any] = {"row_id": record.id}
        reverse = {mapping.columns[name]: name for name in fields if name in mapping.columns}
        for column in columns:
            row[f"v_{column}"] = record.values.get(reverse[column])
        if len(columns) < len(fields):
            columns.append("data")
            row["v_data"] = mapping.encode_json(record.values)
        return tuple(columns), row

    async def _write_claims(self, connection: AsyncConnection, batch: _Batch) -> None:
        before, after = batch.original_holders, batch.holders
        gone = [key for key, owner in before.items() if after.get(key) != owner]
        new = [
            {"key": key, "owner_type": owner[0], "owner_id": owner[1]}
            for key, owner in after.items()
            if before.get(key) != owner
        ]
        for chunk in _chunks(gone):
            await connection.execute(sa.delete(claim_table).where(claim_table.c.key.in_(chunk)))
        if new:
            await connection.execute(sa.insert(claim_table), new)

    def _settle(self, pending: list[_Pending], outcomes: list[Committed | StoreError]) -> None:
        heard: list[Touched] = []
        for each, outcome in zip(pending, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                _fail(each, outcome)
                continue
            heard.extend(outcome.touched)
            for callback in each.changes.callbacks:
                callback(outcome)
            if not each.done.done():
                each.done.set_result(outcome)
        if heard:
            for listener in self._listeners:
                listener(heard)


def _fail(pending: _Pending, error: Exception) -> None:
    if not pending.done.done():
        pending.done.set_exception(error)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    for start in range(0, len(items), _IN_CHUNK):
        yield items[start : start + _IN_CHUNK]
