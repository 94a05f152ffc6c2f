"""Keeping the database small: what was removed is purged, what nobody will look at again is deleted.

An idle server does none of it: purging remembers when the next row is due, and only asks the database then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import Handlers, ProcessConflict
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.resources import catalog
from drover.server.resources.tables import table
from drover.server.store import Condition, Query, Record, StoreError, Touched

log = structlog.get_logger(__name__)

_BATCH = 1000
_NEVER = 1 << 62


class Purging:
    """Takes removed rows to their last state once their ``removeTime`` has passed."""

    def __init__(self, context: Context, handlers: Handlers) -> None:
        self._context = context
        self._handlers = handlers
        self._due = {name: 0 for name in context.store.types if f"{name.lower()}.purge" in catalog().processes}
        context.store.listen(self._hear)

    async def run_once(self) -> None:
        now = now_ms()
        for name in [name for name, due in self._due.items() if due <= now]:
            await self._purge(name, now)

    async def _purge(self, name: str, now: int) -> None:
        conditions = (Condition("state", "eq", "removed"), Condition("removeTime", "lte", now))
        while True:
            self._due[name] = _NEVER
            rows = await self._context.store.find(Query(name, conditions, limit=_BATCH))
            if not rows:
                break
            await self._finish(name, rows)
        columns = table(name).c
        statement = sa.select(sa.func.min(columns.remove_time)).where(columns.state == "removed")
        (found,) = await self._context.store.rows(statement)
        if found[0] is not None:
            self._due[name] = min(self._due[name], int(found[0]))

    async def _finish(self, name: str, rows: Sequence[Record]) -> None:
        """In one write, unless somebody has work to do when such a row is purged."""
        process = f"{name.lower()}.purge"
        has_work = self._handlers.find(process) is not None
        changes = self._context.store.changes()
        if has_work:
            await self._context.store.ensure_ids("processInstance", len(rows))
        for row in rows:
            if has_work:
                self._context.engine.schedule(changes, process, row)
            else:
                changes.update(row, {"state": "purged"})
        try:
            await self._context.store.commit(changes)
        except StoreError as moved:
            log.info("purge.postponed", type=name, reason=str(moved))

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.after is not None and row.type in self._due and row.after.state == "removed":
                due = row.after["removeTime"]
                if due is not None and due < self._due[row.type]:
                    self._due[row.type] = int(due)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Rows of a type whose date is older than a setting says."""

    type: str
    date: str
    setting: str


_RULES = (
    _Rule("processInstance", "endTime", "process_instance.purge.after.seconds"),
    _Rule("processExecution", "created", "process_instance.purge.after.seconds"),
    _Rule("containerEvent", "created", "events.purge.after.seconds"),
    _Rule("serviceEvent", "created", "events.purge.after.seconds"),
    _Rule("externalEvent", "created", "events.purge.after.seconds"),
    _Rule("serviceLog", "created", "service_log.purge.after.seconds"),
    _Rule("auditLog", "created", "audit_log.purge.after.seconds"),
    _Rule("mount", "removed", "mount_delete.purge.after.seconds"),
)


class TableCleanup:
    """Deletes old history and rows that were removed long ago, a thousand at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run_once(self) -> None:
        special = {rule.type for rule in _RULES}
        rules = [rule for rule in _RULES if rule.type in self._context.store.types]
        rules += [
            _Rule(name, "removed", "main_tables.purge.after.seconds")
            for name in sorted(self._context.store.types)
            if name not in special and "removed" in self._context.store.types[name].columns
        ]
        for rule in rules:
            await self._delete(rule.type, rule.date, rule.setting)

    async def clean_task_history(self) -> None:
        await self._delete("taskInstance", "endTime", "task.purge.after.seconds")

    async def _delete(self, name: str, date: str, setting: str) -> None:
        column = self._context.store.types[name].columns.get(date)
        if column is None:
            return
        columns = table(name).c
        batch = max(1, self._context.settings.int("cleanup.query_limit.rows") or _BATCH)
        oldest = now_ms() - int(seconds(self._context.settings, setting) * 1000)
        statement = sa.select(columns.id).where(columns[column] < oldest).limit(batch)
        deleted = 0
        while True:
            ids = [int(row[0]) for row in await self._context.store.rows(statement)]
            if not ids:
                break
            changes = self._context.store.changes()
            for row_id in ids:
                changes.delete(Record(name, row_id, {}))
            try:
                await self._context.store.commit(changes)
            except StoreError as gone:
                log.info("cleanup.postponed", type=name, reason=str(gone))
                break
            deleted += len(ids)
        if deleted:
            log.info("cleanup.deleted", type=name, rows=deleted)


class BrokenContainers:
    """Removes containers that have been in error for a while; the services that own them replace them anyway."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def run_once(self) -> None:
        oldest = now_ms() - int(seconds(self._context.settings, "remove.resources.after") * 1000)
        for row in await self._context.store.find_by("instance", state="error", removed=None):
            if int(row["erroredAt"] or row["created"] or 0) > oldest:
                continue
            changes = self._context.store.changes()
            try:
                self._context.engine.schedule(changes, "instance.remove", row, {"errorState": True})
                await self._context.store.commit(changes)
            except (ProcessConflict, StoreError) as busy:
                log.info("instance.not_removed", instance_id=row.id, reason=str(busy))
