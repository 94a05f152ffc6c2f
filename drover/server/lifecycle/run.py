"""One attempt at a process, as its handler sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from drover.server.resources import Process
from drover.server.store import Changes, Record, Store

# Writing every checkpoint of a container that starts in 300 ms would double its cost; whoever takes longer is shown.
_PROGRESS_AFTER_SECONDS = 0.7


class Run:
    """What a handler is given: the resource as it is, the process data, and the means to write safely.

    ``record`` is replaced by every :meth:`apply`. ``data`` is the process's own JSON: its inputs, and whatever the
    handler wants to remember between attempts (it is stored with each apply and at the end of the attempt).
    """

    def __init__(
        self,
        *,
        store: Store,
        process: Process,
        process_record: Record,
        record: Record,
        lease: Callable[[Changes, Record], None],
    ) -> None:
        self.store = store
        self.process = process
        self.process_record = process_record
        self.record = record
        self.data: dict[str, Any] = dict(process_record["data"] or {})
        self.attempt = int(process_record["executionCount"] or 0) + 1
        self.trace: list[dict[str, Any]] = []
        self._lease = lease
        self._started = time.monotonic()
        self._told = 0.0

    def plan(self) -> Changes:
        """An empty plan that only holds while this process still owns the resource."""
        changes = self.store.changes()
        changes.guard(self.record, **{self.process.state_field: self.record[self.process.state_field]})
        self._lease(changes, self.process_record)
        return changes

    async def apply(self, values: Mapping[str, Any] | None = None, changes: Changes | None = None) -> Record:
        """Store values of the resource (and the rest of the given plan) now, guarded; returns the fresh record."""
        plan = self.plan() if changes is None else changes
        if values:
            plan.update(self.record, values)
        committed = await self.store.commit(plan)
        self.record = committed.record(self.record.merged(values or {}))
        return self.record

    def note(self, step: str, **facts: Any) -> None:
        """Add a line to the trace shown on the Processes page."""
        self.trace.append({"t": round((time.monotonic() - self._started) * 1000), "step": step, **facts})

    async def progress(self, text: str, percent: int | None = None) -> None:
        """Tell the user what is happening. Short processes pass unmentioned, long ones show a text every 0.7 s."""
        now = time.monotonic()
        self.note(text)
        if now - max(self._started, self._told) < _PROGRESS_AFTER_SECONDS:
            return
        self._told = now
        await self.apply({"transitioningMessage": text, "transitioningProgress": percent})
