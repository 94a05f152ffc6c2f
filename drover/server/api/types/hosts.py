"""Hosts: their containers when read, their labels when changed, and evacuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import forbidden
from drover.server.api.extensions import Extensions
from drover.server.api.writing import commit
from drover.server.resources.tables import table
from drover.server.store import Record

_EVACUATED = frozenset({"running", "starting", "restarting"})


def register(extensions: Extensions) -> None:
    extensions.rule("host", "physicalHost", "hostTemplate")(check_infrastructure)
    extensions.computes("host")(compute_host)
    extensions.action("evacuate", "host")(evacuate)


async def check_infrastructure(draft: Draft) -> None:
    if not draft.call.caller.modify_infra:
        raise forbidden(f"Cannot create or change a {draft.schema.id}; ask an owner of the environment")


async def compute_host(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``instanceIds`` in one narrow statement; the state of the agent shows as the state of an active host."""
    if call.version == "v1":
        return {}
    found: dict[int, dict[str, Any]] = {record.id: {"instanceIds": []} for record in records}
    instances = table("instance").c
    statement = (
        sa.select(instances.host_id, instances.id)
        .where(instances.host_id.in_(list(found)), instances.removed.is_(None))
        .order_by(instances.id)
    )
    for row in await call.store.rows(statement):
        found[row.host_id]["instanceIds"].append(row.id)
    for record in records:
        if record.state == "active" and record["agentState"]:
            found[record.id]["state"] = record["agentState"]
    return found


async def evacuate(call: Call, record: Record, _given: dict[str, Any]) -> Record:
    """Deactivate the host and stop what runs there; services start their containers elsewhere."""
    changes = call.store.changes()
    engine = call.context.engine
    planned = record
    if engine.can_schedule("host.deactivate", record):
        planned = engine.schedule(changes, "host.deactivate", record)
    for instance in await call.store.find_by("instance", hostId=record.id, removed=None):
        if instance.state in _EVACUATED and not instance["system"] and engine.can_schedule("instance.stop", instance):
            engine.schedule(changes, "instance.stop", instance, {"remove": instance["serviceId"] is not None})
    await call.store.ensure_ids("processInstance", len(changes.inserts))
    return (await commit(call, changes)).record(planned)
