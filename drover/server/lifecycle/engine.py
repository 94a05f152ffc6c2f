"""Schedules, accepts, runs and finishes processes."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle.errors import AlreadyRunning, NotAllowed, ProcessConflict
from drover.server.lifecycle.handlers import Handler, Handlers
from drover.server.lifecycle.outcome import Again, Chain, Delegate, Done, Outcome
from drover.server.lifecycle.pools import Pool, PoolStatus, priority_of
from drover.server.lifecycle.run import Run
from drover.server.resources import Process
from drover.server.store import Changes, Committed, Record, RowMissing, Store, StoreError

log = structlog.get_logger(__name__)

PROCESS = "processInstance"
CHAIN_TO = "chainTo"  # process data: the process to go on with after this one has succeeded
_DRAIN_SECONDS = 1.5
SlotKey = tuple[str, int, str]


@dataclass(slots=True)
class _Job:
    """An accepted process: its record, the resource as last seen, and the task while it runs."""

    process: Process
    process_record: Record
    record: Record | None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    superseded: bool = False
    finishing: bool = False  # its last commit is on the way; a successor that this commit schedules is no rival


@dataclass(slots=True)
class _Slot:
    """The jobs of one state machine of one resource: they run one after the other."""

    current: _Job | None = None
    waiting: deque[_Job] = field(default_factory=deque)


class Engine:
    """The engine of one server. ``processes`` is the declared table of transitions by name."""

    def __init__(
        self,
        store: Store,
        processes: Mapping[str, Process],
        handlers: Handlers,
        *,
        server_id: str | None = None,
        user_limit: int = 2000,
        system_limit: int = 500,
        retry_max_wait: float = 120.0,
    ) -> None:
        self.store = store
        self.server_id = server_id or str(uuid.uuid4())
        self.retry_max_wait = retry_max_wait
        self._processes = processes
        self._handlers = handlers
        self._pools = {True: Pool("system", system_limit), False: Pool("user", user_limit)}
        self._slots: dict[SlotKey, _Slot] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hooks: list[Handler] = []
        self._stopping = False

    def add_hook(self, hook: Handler) -> None:
        """Call ``hook`` before the handler of every process. An outcome that it returns takes the handler's place."""
        self._hooks.append(hook)

    # Scheduling

    def can_schedule(self, name: str, record: Record) -> bool:
        process = self._processes[name]
        return record[process.state_field] in process.transitioning

    def schedule(self, changes: Changes, name: str, record: Record, data: Mapping[str, Any] | None = None) -> Record:
        """Plan a process: the transitioning state, and the durable record that makes it happen.

        Returns the resource as it will look. Raises NotAllowed or AlreadyRunning when its state does not permit the
        process; a state that changes before the commit makes the commit fail with GuardFailed.
        """
        process = self._processes[name]
        state = record[process.state_field]
        target = process.transitioning.get(state)
        if target is None:
            raise self._conflict(process, record, state)
        if record.key not in changes.inserts:
            changes.guard(record, **{process.state_field: state})
        values: dict[str, Any] = {process.state_field: target}
        if process.state_field == "state":
            for name_ in ("transitioning", "transitioningMessage", "transitioningProgress"):
                if record[name_] is not None:
                    values[name_] = None
        planned = changes.update(record, values)
        self._plan_record(changes, process, planned, data or {})
        return planned

    def _conflict(self, process: Process, record: Record, state: str) -> ProcessConflict:
        described = f"{record.kind} {record.name or record.id}"
        if state in process.done:
            return AlreadyRunning(
                process.name, record.type, record.id, state, f"{described} is {state} already; wait until it has ended"
            )
        starts = ", ".join(sorted(process.transitioning))
        return NotAllowed(
            process.name,
            record.type,
            record.id,
            state,
            f"{described} is {state}; {process.name} is possible only from: {starts}",
        )

    def _plan_record(self, changes: Changes, process: Process, record: Record, data: Mapping[str, Any]) -> None:
        priority = priority_of(process.name, system=bool(record["system"]))
        process_record = changes.insert(
            PROCESS,
            {
                "accountId": record.account_id,
                "processName": process.name,
                "resourceType": record.type,
                "resourceId": str(record.id),
                "priority": priority,
                "phase": "REQUESTED",
                "startTime": now_ms(),
                "startProcessServerId": self.server_id,
                "runningProcessServerId": self.server_id,
                "executionCount": 0,
                "data": dict(data),
            },
        )
        changes.after_commit(lambda committed: self._accept(process, process_record, committed.record(record)))

    # Accepting

    def resume(self, process_records: list[Record]) -> None:
        """Accept records that a crashed server (or this one, before its restart) left open."""
        for process_record in process_records:
            process = self._processes.get(str(process_record["processName"]))
            if process is None:
                log.error("process.unknown", process=process_record["processName"], id=process_record.id)
                continue
            self._accept(process, process_record, None)

    def _accept(self, process: Process, process_record: Record, record: Record | None) -> None:
        if self._stopping:
            return  # it is durable: the next start resumes it
        job = _Job(process, process_record, record)
        key = (str(process_record["resourceType"]), int(process_record["resourceId"]), process.state_field)
        slot = self._slots.setdefault(key, _Slot())
        slot.waiting.append(job)
        current = slot.current
        if current is None:
            self._start_next(key, slot)
        elif not current.finishing:
            # Scheduling moved the state on, so the older process can no longer finish: let go of it now.
            current.superseded = True
            if current.timer is not None:
                current.timer.cancel()
                current.timer = None
                self._begin(key, slot, current)
            elif current.task is not None:
                current.task.cancel()

    def _start_next(self, key: SlotKey, slot: _Slot) -> None:
        if not slot.waiting:
            del self._slots[key]
            return
        slot.current = slot.waiting.popleft()
        self._begin(key, slot, slot.current)

    def _begin(self, key: SlotKey, slot: _Slot, job: _Job) -> None:
        priority = int(job.process_record["priority"] or 0)
        pool = self._pools[priority >= 900]

        def start() -> None:
            task = asyncio.create_task(self._work(key, slot, job, pool), name=f"{job.process.name}:{key[1]}")
            job.task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        pool.submit(priority, start)

    # Running

    async def _work(self, key: SlotKey, slot: _Slot, job: _Job, pool: Pool) -> None:
        again: Again | None = None
        try:
            again = await self._attempt(job)
        except asyncio.CancelledError:
            if self._stopping or not job.superseded:
                raise
            await self._close(job, "STATE_CHANGED", "CANCELED")
        except Exception:
            log.exception("process.engine_failure", process=job.process.name, resource=key)
            again = Again(self._backoff(job))
        finally:
            job.task = None
            pool.release()
        if again is not None and not job.superseded:
            loop = asyncio.get_running_loop()
            job.timer = loop.call_later(again.seconds, self._retry, key, slot, job)
            return
        slot.current = None
        self._start_next(key, slot)

    def _retry(self, key: SlotKey, slot: _Slot, job: _Job) -> None:
        job.timer = None
        job.record = None
        if not self._stopping:
            self._begin(key, slot, job)

    async def _attempt(self, job: _Job) -> Again | None:
        """One run of the handler, and of the delegates it hands over to. Returns Again when it must be repeated."""
        while True:
            record = job.record or await self.store.get(
                str(job.process_record["resourceType"]), int(job.process_record["resourceId"])
            )
            if record is None:
                await self._close(job, "CANCELED", "CANCELED")
                return None
            state = record[job.process.state_field]
            if state not in job.process.done:
                finished = state in job.process.done.values()
                await self._close(job, "ALREADY_DONE" if finished else "STATE_CHANGED", _result(finished))
                return None
            run = Run(
                store=self.store,
                process=job.process,
                process_record=job.process_record,
                record=record,
                lease=self._guard_lease,
            )
            try:
                outcome = await self._call(run)
                if isinstance(outcome, Again):
                    return await self._postpone(job, run, outcome, "DELAY")
                delegated = await self._finish(job, run, outcome)
            except StoreError as lost:
                return await self._lost_race(job, run, lost)
            except Exception as error:
                log.exception("process.failed", process=job.process.name, resource_id=record.id, attempt=run.attempt)
                wait = Again(self._backoff(job), str(error) or type(error).__name__)
                return await self._postpone(job, run, wait, "UNKNOWN_EXCEPTION")
            if not delegated:
                return None

    async def _call(self, run: Run) -> Outcome:
        for hook in self._hooks:
            outcome = await hook(run)
            if outcome is not None:
                return outcome
        handler = self._handlers.find(run.process.name)
        if handler is None:
            return Done()
        return await handler(run) or Done()

    async def _lost_race(self, job: _Job, run: Run, lost: StoreError) -> Again | None:
        """A guard failed: either somebody moved the resource on, or another row of the plan changed meanwhile."""
        record = await self.store.get(run.record.type, run.record.id)
        if record is None or record[job.process.state_field] not in job.process.done:
            await self._close(job, "STATE_CHANGED", "CANCELED")
            return None
        log.info("process.conflict", process=job.process.name, resource_id=run.record.id, reason=str(lost))
        job.record = record
        return await self._postpone(job, run, Again(min(self._backoff(job), 2.0)), "RESOURCE_BUSY")

    def _backoff(self, job: _Job) -> float:
        attempt = int(job.process_record["executionCount"] or 0) + 1
        return min(self.retry_max_wait, 2.0 + 0.1 * float(2 ** min(attempt - 1, 16)))

    # Finishing

    async def _finish(self, job: _Job, run: Run, outcome: Done | Delegate | Chain) -> bool:
        """Write the outcome in one guarded plan. True when the job goes on as its delegate."""
        changes = run.plan()
        if outcome.changes is not None:
            changes.include(outcome.changes)
        process, record = run.process, run.record
        values = dict(outcome.values)
        if isinstance(outcome, Delegate):
            return await self._hand_over(job, run, changes, values)
        values[process.state_field] = process.done[record[process.state_field]]
        if process.state_field == "state" and "transitioningMessage" not in values and record["transitioning"] is None:
            for name in ("transitioningMessage", "transitioningProgress"):
                if record[name] is not None:
                    values[name] = None
        planned = changes.update(record, values)
        reason = "DONE"
        if isinstance(outcome, Done):
            outcome = self._asked_to_follow(run, outcome, planned)
        if isinstance(outcome, Chain):
            reason = "CHAIN"
            data = {**run.data, **outcome.data}
            if data.get(CHAIN_TO) == outcome.process:
                del data[CHAIN_TO]
            self._chain(changes, outcome, planned, data, left=str(record[process.state_field]))
        self._plan_close(changes, job.process_record, run, reason, "SUCCESS")
        job.finishing = True
        try:
            await self.store.commit(changes)
        except StoreError:
            job.finishing = False
            raise
        return False

    def _asked_to_follow(self, run: Run, outcome: Done, planned: Record) -> Done | Chain:
        """Whoever scheduled the process may have named its successor, such as the removal after a stop."""
        successor = self._processes.get(str(run.data.get(CHAIN_TO)))
        if successor is None or planned[successor.state_field] not in successor.transitioning:
            return outcome
        return Chain(successor.name, outcome.values)

    def _chain(self, changes: Changes, outcome: Chain, planned: Record, data: dict[str, Any], *, left: str) -> None:
        """Schedule the successor from the state just reached, or from the one just left if it only starts there.

        Error texts stay visible, so nothing is cleared.
        """
        successor = self._processes[outcome.process]
        state = planned[successor.state_field]
        target = successor.transitioning.get(state) or successor.transitioning.get(left)
        if target is None:
            raise self._conflict(successor, planned, state)
        chained = changes.update(planned, {successor.state_field: target})
        self._plan_record(changes, successor, chained, data)

    async def _hand_over(self, job: _Job, run: Run, changes: Changes, values: dict[str, Any]) -> bool:
        delegate = self._processes[str(run.process.delegate)]
        state = run.record[run.process.state_field]
        values[delegate.state_field] = delegate.transitioning[state]
        changes.update(run.record, values)
        job.process_record = changes.update(job.process_record, {"processName": delegate.name, "data": run.data})
        committed = await self.store.commit(changes)
        job.process = delegate
        job.record = committed.record(run.record)
        return True

    async def _postpone(self, job: _Job, run: Run, again: Again, reason: str) -> Again:
        """Remember the attempt, show the reason, and come back later."""
        changes = self.store.changes()
        self._guard_lease(changes, job.process_record)
        job.process_record = changes.update(
            job.process_record,
            {
                "executionCount": run.attempt,
                "exitReason": reason,
                "runAfter": now_ms() + int(again.seconds * 1000),
                "data": run.data,
            },
        )
        if again.message and run.process.state_field == "state":
            changes.guard(run.record, state=run.record.state)
            changes.update(run.record, {"transitioningMessage": again.message})
        try:
            await self.store.commit(changes)
        except StoreError as lost:
            log.info("process.postpone_conflict", process=run.process.name, reason=str(lost))
            return Again(0.1)
        return again

    async def _close(self, job: _Job, reason: str, result: str) -> None:
        changes = self.store.changes()
        self._plan_close(changes, job.process_record, None, reason, result)
        try:
            await self.store.commit(changes)
        except RowMissing:
            log.info("process.record_gone", process=job.process.name, id=job.process_record.id)

    @staticmethod
    def _plan_close(changes: Changes, process_record: Record, run: Run | None, reason: str, result: str) -> None:
        values: dict[str, Any] = {
            "phase": "DONE",
            "exitReason": reason,
            "result": result,
            "endTime": now_ms(),
            "runningProcessServerId": None,
        }
        if run is not None:
            values["executionCount"] = run.attempt
            if run.trace:
                values["log"] = run.trace
        changes.update(process_record, values)

    def _guard_lease(self, changes: Changes, process_record: Record) -> None:
        """Where another server could have taken the record over, the plan holds only while it is still ours."""
        if not self.store.database.exclusive:
            changes.guard(process_record, runningProcessServerId=self.server_id)

    # Starting and stopping

    async def recover(self) -> int:
        """At the start of a server that owns its database: take over every open record. Returns how many."""
        open_records = await self.store.find_by(PROCESS, endTime=None)
        if open_records:
            changes = self.store.changes()
            adopted = [changes.update(each, {"runningProcessServerId": self.server_id}) for each in open_records]
            await self.store.commit(changes)
            self.resume(sorted(adopted, key=lambda each: each.id))
        return len(open_records)

    async def adopt_orphans(self, live_servers: set[str]) -> int:
        """Take over the open records of servers that stopped giving signs of life. Returns how many."""
        orphans = await self.store.find_by(
            PROCESS, endTime=None, runningProcessServerId_ne=tuple({*live_servers, self.server_id})
        )
        adopted: list[Record] = []
        for orphan in orphans:
            changes = self.store.changes()
            changes.guard(orphan, runningProcessServerId=orphan["runningProcessServerId"], endTime=None)
            taken = changes.update(orphan, {"runningProcessServerId": self.server_id})
            try:
                await self.store.commit(changes)
            except StoreError as lost:
                log.info("process.adopted_elsewhere", id=orphan.id, reason=str(lost))
                continue
            adopted.append(taken)
        self.resume(adopted)
        return len(adopted)

    def pools(self) -> list[PoolStatus]:
        return [pool.status for pool in self._pools.values()]

    @property
    def idle(self) -> bool:
        return not self._slots

    async def stop(self) -> None:
        """Let short runs end, interrupt the others: what is unfinished goes on at the next start."""
        self._stopping = True
        for slot in self._slots.values():
            if slot.current is not None and slot.current.timer is not None:
                slot.current.timer.cancel()
        if self._tasks:
            _, running = await asyncio.wait(set(self._tasks), timeout=_DRAIN_SECONDS)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _result(finished: bool) -> str:
    return "SUCCESS" if finished else "CANCELED"


__all__ = ["CHAIN_TO", "PROCESS", "Committed", "Engine"]
