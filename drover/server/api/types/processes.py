"""What the engine does, as resources: processes, their definitions, pools and a summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from drover.common.clock import now_ms
from drover.server.api.call import Call
from drover.server.api.errors import ApiError
from drover.server.api.extensions import Extensions, Output
from drover.server.api.ids import format_id
from drover.server.api.rendering import id_prefix, shown_type
from drover.server.lifecycle import ProcessConflict
from drover.server.resources import Process, Schema, catalog
from drover.server.resources.tables import table
from drover.server.store import Record

_EMPTY_POINT: dict[str, Any] = {"type": "extensionPoint", "name": None, "implementations": []}


def register(extensions: Extensions) -> None:
    extensions.lists("processDefinition")(list_definitions)
    extensions.reads("processDefinition")(read_definition)
    extensions.lists("processPool")(list_pools)
    extensions.lists("processSummary")(list_summary)
    extensions.computes("processInstance", "auditLog")(compute_resource_ids)
    extensions.action("replay", "processInstance")(replay)
    extensions.link("processExecutions", "processInstance")(executions)
    extensions.link("resource", "processInstance", "auditLog")(resource)


async def list_definitions(_call: Call, _schema: Schema) -> Sequence[Output]:
    return [_definition(each) for each in catalog().processes.values()]


async def read_definition(_call: Call, _schema: Schema, name: str) -> Output | None:
    process = catalog().processes.get(name.removeprefix("1pd!"))
    return None if process is None else _definition(process)


def _definition(process: Process) -> Output:
    return Output(
        type="processDefinition",
        id=f"1pd!{process.name}",
        values={
            "name": process.name,
            "resourceType": process.resource_type,
            "extensionBased": False,
            "preProcessListeners": _EMPTY_POINT,
            "processHandlers": _EMPTY_POINT,
            "postProcessListeners": _EMPTY_POINT,
            "stateTransitions": _transitions(process),
        },
    )


def _transitions(process: Process) -> list[dict[str, Any]]:
    moves = [(start, moving, "transitioning") for start, moving in process.transitioning.items()]
    moves += [(moving, end, "done") for moving, end in process.done.items()]
    return [
        {
            "type": "stateTransition",
            "field": process.state_field,
            "fromState": one,
            "toState": other,
            "transitionType": kind,
        }
        for one, other, kind in moves
    ]


async def list_pools(call: Call, _schema: Schema) -> Sequence[Output]:
    return [
        Output(
            type="processPool",
            id=f"1pp!{pool.name}",
            values={
                "name": pool.name,
                "activeTasks": pool.active,
                "poolSize": pool.active,
                "minPoolSize": 0,
                "maxPoolSize": pool.limit,
                "completedTasks": pool.completed,
                "rejectedTasks": 0,
                "queueSize": pool.queued,
                "queueRemainingCapacity": None,
            },
        )
        for pool in call.context.engine.pools()
    ]


async def list_summary(call: Call, _schema: Schema) -> Sequence[Output]:
    """How many processes of each name are open: running, ready to run, or put off. One aggregate statement."""
    columns = table("processInstance").c
    running = columns.running_process_server_id.is_not(None)
    later = columns.run_after.is_not(None) & (columns.run_after > now_ms())
    statement = (
        sa.select(
            columns.process_name,
            sa.func.sum(sa.case((running & ~later, 1), else_=0)).label("active"),
            sa.func.sum(sa.case((later, 1), else_=0)).label("delayed"),
            sa.func.count().label("total"),
        )
        .where(columns.end_time.is_(None))
        .group_by(columns.process_name)
        .order_by(columns.process_name)
    )
    found = []
    for row in await call.store.rows(statement):
        values = {"processName": row.process_name, "running": int(row.active), "delay": int(row.delayed)}
        values["ready"] = int(row.total) - int(row.active) - int(row.delayed)
        found.append(Output(type="processSummary", id=f"1ps!{row.process_name}", values=values))
    return found


async def compute_resource_ids(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``resourceId`` with the prefix of the type it belongs to."""
    found = {}
    for record in records:
        number = record["resourceId"]
        if number is None:
            continue
        prefix = id_prefix(str(record["resourceType"] or ""), call.schemas)
        found[record.id] = {"resourceId": str(number) if call.plain_ids else format_id(prefix, int(number))}
    return found


async def replay(call: Call, record: Record, _given: dict[str, Any]) -> Record:
    """Schedule a process once more that ended without success."""
    target = await _resource(call, record)
    name = str(record["processName"])
    if target is None or name not in catalog().processes:
        raise ApiError(422, "InvalidState", "The resource of this process is gone; there is nothing to repeat")
    changes = call.store.changes()
    try:
        call.context.engine.schedule(changes, name, target, record["data"] or {})
    except ProcessConflict as refused:
        raise ApiError(409, "Conflict", str(refused)) from refused
    await call.store.commit(changes)
    return record


async def executions(call: Call, record: Record) -> Sequence[Output]:
    """The trace of a process, as one execution."""
    url = call.urls.resource("processExecutions", f"1pe{record.id}")
    values = {
        "created": None,
        "log": {"executions": record["log"] or []},
        "processInstanceId": f"1pi{record.id}",
        "uuid": None,
    }
    return [Output(type="processExecution", id=f"1pe{record.id}", values=values, links={"self": url})]


async def resource(call: Call, record: Record) -> Record | None:
    return await _resource(call, record)


async def _resource(call: Call, record: Record) -> Record | None:
    declared = catalog().find(str(record["resourceType"] or ""))
    if declared is None or not declared.stored or record["resourceId"] is None:
        return None
    base = catalog().stored_base(declared.name)
    if shown_type(call.version, call.caller.role, base, base) is None:
        return None
    return await call.store.get(base, int(record["resourceId"]))
