"""Creating, changing and removing rows: one plan per request, with the process that makes it true.

The row, its process and its unique keys are committed together or not at all; the client sees the transitioning
state in the answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from drover.common.clock import now_ms
from drover.server.api.actions import process_name
from drover.server.api.auth.policy import require_may, require_may_change
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid, not_allowed
from drover.server.api.extensions import Prepared
from drover.server.api.scope import has_account, stored_kind
from drover.server.api.validation import validate
from drover.server.lifecycle import NotAllowed, ProcessConflict
from drover.server.lifecycle.engine import CHAIN_TO
from drover.server.resources import Schema, catalog
from drover.server.store import Changes, ClaimTaken, Committed, GuardFailed, Record, RowMissing

# What must happen before a resource of these types can be removed (Rancher 1.6).
_BEFORE_REMOVE = {"agent": "deactivate", "instance": "stop", "account": "deactivate", "host": "deactivate"}

_MOST_COPIES = 1000


def has_process(base_type: str, action: str) -> bool:
    return process_name(base_type, action) in catalog().processes


async def commit(call: Call, changes: Changes, draft: Draft | None = None) -> Committed:
    """Commit a plan; a lost race or a taken key becomes the error that the client is told."""
    try:
        return await call.store.commit(changes)
    except ClaimTaken as taken:
        refusal = draft.refusal_of(taken.key) if draft else None
        raise refusal or ApiError(409, "Conflict", f"{taken}; choose another one") from taken
    except GuardFailed as lost:
        raise conflict(str(lost)) from lost
    except RowMissing as missing:
        raise ApiError(404, None, "The resource has been purged meanwhile") from missing


def conflict(why: str) -> ApiError:
    return ApiError(
        409, "Conflict", "The resource is being changed by something else; read it again and retry", detail=why
    )


# Creating


async def create(call: Call, schema: Schema, base_type: str, body: Mapping[str, Any]) -> list[Record]:
    """The new rows: one, or as many equal ones as ``count`` asks for. Raises ApiError."""
    values = await validate(call, schema, body, "create")
    draft = Draft(call=call, schema=schema, base_type=base_type, values=values)
    await complete(draft, body)
    copies = _copies(draft)
    await call.store.ensure_ids(base_type, copies)
    await call.store.ensure_ids("processInstance", copies)
    changes = call.store.changes()
    records = [plan_create(changes, draft) for _ in range(copies)]
    committed = await commit(call, changes, draft)
    return [committed.record(record).merged(draft.reveal) for record in records]


async def complete(draft: Draft, body: Mapping[str, Any]) -> None:
    """Fill in what every row has, then let the rules of the type judge the whole."""
    call, values = draft.call, draft.values
    values["kind"] = _kind(draft, body)
    values["created"] = now_ms()
    values["uuid"] = values.get("uuid") or str(uuid.uuid4())
    if has_process(draft.base_type, "create"):
        values["state"] = "requested"
    elif "state" in call.store.types[draft.base_type].columns:
        values["state"] = values.get("state") or "active"
    if has_account(call, draft.base_type):
        given = values.get("accountId") if call.caller.all_accounts else None
        values["accountId"] = given or call.caller.policy_account_id
    await _check_unique(draft)
    await run_rules(draft)
    require_may(call, "create", draft.base_type, draft.values)


def _kind(draft: Draft, body: Mapping[str, Any]) -> str:
    """The type asked for, unless the role may choose the kind itself (accounts, generic objects)."""
    given = draft.values.get("kind")
    field = draft.schema.fields.get("kind")
    if given and field is not None and field.create and "kind" in body:
        return str(given)
    return stored_kind(draft.schema.id)


def _copies(draft: Draft) -> int:
    count = draft.values.pop("count", None) if draft.base_type == "instance" else None
    if not isinstance(count, int) or count <= 1:
        return 1
    if count > _MOST_COPIES:
        raise invalid("MaxLimitExceeded", "count", f"count must be at most {_MOST_COPIES}; create a service instead")
    return count


def plan_create(changes: Changes, draft: Draft) -> Record:
    values = dict(draft.values)
    if changes.inserts:
        values["uuid"] = str(uuid.uuid4())  # a further copy
    record = changes.insert(draft.base_type, values)
    draft.plan(changes, record)
    if has_process(draft.base_type, "create"):
        record = draft.call.context.engine.schedule(
            changes, process_name(draft.base_type, "create"), record, draft.process_data
        )
    return record


async def run_rules(draft: Draft) -> None:
    for rule in draft.call.extensions.rules(stored_kind(draft.schema.id)):
        await rule(draft)


async def _check_unique(draft: Draft) -> None:
    for name, field in draft.schema.fields.items():
        value = draft.values.get(field.stored_as)
        if not field.unique or value is None or not field.column or not draft.changes(field.stored_as):
            continue
        same: dict[str, Any] = {field.stored_as: value}
        if has_account(draft.call, draft.base_type):
            same["accountId"] = draft.get("accountId")
        found = await draft.call.store.first(draft.base_type, removed=None, **same)
        if found is not None and (draft.record is None or found.id != draft.record.id):
            raise invalid("NotUnique", name, f"There is already a {draft.schema.id} with this {name}; choose another")


async def create_row(call: Call, base_type: str, values: Mapping[str, Any]) -> Record:
    """A row that a handler makes on the caller's behalf, with its create process. Nothing is validated."""
    changes = call.store.changes()
    full = {"kind": base_type, "uuid": str(uuid.uuid4()), "created": now_ms(), "state": "requested", **values}
    record = changes.insert(base_type, full)
    if has_process(base_type, "create"):
        record = schedule(call, changes, process_name(base_type, "create"), record, {})
    return (await commit(call, changes)).record(record)


# Changing


async def update(call: Call, schema: Schema, record: Record, body: Mapping[str, Any]) -> Record:
    """The row with the given fields changed. ``<type>.update`` runs when one of them asks for it."""
    require_may_change(call, "update", record)
    values = await validate(call, schema, body, "update")
    draft = Draft(call=call, schema=schema, base_type=record.type, values=values, record=record)
    await _check_unique(draft)
    await run_rules(draft)
    changed = {name: value for name, value in draft.values.items() if record[name] != value}
    changes = call.store.changes()
    draft.plan(changes, record)
    if not changed and changes.empty:
        return record
    planned = changes.update(record, changed)
    acts = {each.stored_as for each in schema.fields.values() if each.schedule_update}
    if (draft.process_data or acts & changed.keys()) and has_process(record.type, "update"):
        old = {name: record[name] for name in changed}
        planned = schedule(
            call, changes, process_name(record.type, "update"), planned, {"old": old, **draft.process_data}
        )
    committed = await commit(call, changes, draft)
    return committed.record(planned)


# Removing and acting


async def remove(call: Call, record: Record, prepared: Prepared = Prepared()) -> Record:  # noqa: B008 - frozen
    """Start the removal. What must be stopped first is stopped, and then removed. Raises 405 when neither can be."""
    require_may_change(call, "delete", record)
    changes = call.store.changes()
    name = process_name(record.type, "remove")
    if not has_process(record.type, "remove"):
        return await _delete_row(call, changes, record)
    engine = call.context.engine
    first = process_name(record.type, _BEFORE_REMOVE[record.type]) if record.type in _BEFORE_REMOVE else None
    if engine.can_schedule(name, record):
        planned = engine.schedule(changes, name, record, prepared.data)
    elif first is not None and engine.can_schedule(first, record):
        planned = engine.schedule(changes, first, record, {**prepared.data, CHAIN_TO: name})
    else:
        raise not_allowed(
            f"{record.kind} {record.name or record.id} is {record.state} and cannot be removed from there"
        )
    committed = await commit(call, changes)
    return committed.record(planned)


async def _delete_row(call: Call, changes: Changes, record: Record) -> Record:
    if "removed" in call.store.types[record.type].columns:
        if record["removed"] is not None:
            raise not_allowed(f"{record.kind} {record.name or record.id} is removed already")
        values: dict[str, Any] = {"removed": now_ms()}
        if "state" in call.store.types[record.type].columns:
            values["state"] = "removed"
        planned = changes.update(record, values)
    else:
        planned = record
        changes.delete(record)
    changes.release_all(record)
    committed = await commit(call, changes)
    return committed.record(planned)


async def run_process(call: Call, record: Record, action: str, prepared: Prepared) -> Record:
    """Schedule the process of an action, together with the values it starts from."""
    require_may_change(call, "update", record)
    changes = call.store.changes()
    planned = changes.update(record, prepared.values) if prepared.values else record
    planned = schedule(call, changes, process_name(record.type, action), planned, prepared.data)
    committed = await commit(call, changes)
    return committed.record(planned)


def schedule(call: Call, changes: Changes, name: str, record: Record, data: Mapping[str, Any]) -> Record:
    """Plan a process; a state that does not permit it is a conflict (409) that says which."""
    try:
        return call.context.engine.schedule(changes, name, record, data)
    except NotAllowed as refused:
        raise conflict(str(refused)) from refused
    except ProcessConflict as running:
        raise conflict(str(running)) from running
