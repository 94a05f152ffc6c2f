"""Turning a pass's steps into plans: all new rows of a pass are one commit."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from drover.common.clock import now_ms
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.context import Context
from drover.server.orchestration.health.recreations import avoided_hosts, plan_failure
from drover.server.orchestration.images.own import stand_in
from drover.server.orchestration.instances.plan import plan_instance, plan_stop_and_remove
from drover.server.orchestration.services.digest import GONE, REQUESTED_HOST_LABEL, Digest, Member, Unit
from drover.server.orchestration.services.journal import CREATED, DELETED, STARTED, named, plan_entry
from drover.server.orchestration.services.members import member_values
from drover.server.orchestration.services.planner import NewUnit, Steps
from drover.server.orchestration.services.retained import ServiceIndexes, plan_release
from drover.server.orchestration.services.spec import PRIMARY, LaunchConfig, ServiceSpec
from drover.server.orchestration.services.volumes import StackVolumes
from drover.server.store import Changes, Record, StoreError

RECONCILE = {"reconcileState": True}


async def take(context: Context, spec: ServiceSpec, digest: Digest, steps: Steps) -> None:
    """Commit the steps. Each kind stands alone, so that a lost race in one does not hold up the others."""
    await _remove(context, spec, steps)
    await _start(context, spec, steps)
    if steps.new_units or steps.new_members:
        await _create(context, spec, digest, steps)


async def _create(context: Context, spec: ServiceSpec, digest: Digest, steps: Steps) -> None:
    store = context.store
    count = len(steps.new_units) * len(spec.configs) + len(steps.new_members)
    for type_name in ("instance", "processInstance", "serviceExposeMap"):
        await store.ensure_ids(type_name, count + 16)
    await store.ensure_ids("deploymentUnit", len(steps.new_units) + 1)
    volumes = await StackVolumes.load(context, spec, spec.configs)
    indexes = await ServiceIndexes.load(context, spec)
    changes = store.changes()
    changes.guard(spec.record, removed=None)
    counter = _Counter(int(spec.record["createIndex"] or 0))
    for new in steps.new_units:
        unit = _plan_unit(changes, spec, new)
        _plan_members(context, changes, spec, unit, spec.configs, {}, counter, volumes, indexes)
    by_unit: dict[str, list[LaunchConfig]] = {}
    for known, config in steps.new_members:
        by_unit.setdefault(known.uuid, []).append(config)
    for unit_uuid, configs in by_unit.items():
        known = digest.units[unit_uuid]
        if known.record is not None:
            siblings = {config: member.id for config, member in known.by_config().items()}
            _plan_members(context, changes, spec, known.record, configs, siblings, counter, volumes, indexes)
    changes.update(spec.record, {"createIndex": counter.value})
    made = [str(record.name) for record in changes.inserts.values() if record.type == "instance"]
    plan_entry(changes, spec, CREATED, named("Creating", made))
    await store.commit(changes)


class _Counter:
    def __init__(self, value: int) -> None:
        self.value = value

    def next(self) -> int:
        self.value += 1
        return self.value


def _plan_unit(changes: Changes, spec: ServiceSpec, new: NewUnit) -> Record:
    labels = {} if new.requested_host_id is None else {REQUESTED_HOST_LABEL: str(new.requested_host_id)}
    unit = changes.insert(
        "deploymentUnit",
        {
            "kind": "deploymentUnit",
            "uuid": str(uuid.uuid4()),
            "accountId": spec.account_id,
            "serviceId": spec.id,
            "serviceIndex": str(new.index),
            "labels": labels,
            "state": "active",
            "created": now_ms(),
        },
    )
    # The database itself refuses a second unit of the same index, whatever goes wrong above it.
    changes.claim(f"unit:{spec.id}:{new.index}", unit)
    return unit


def _plan_members(
    context: Context,
    changes: Changes,
    spec: ServiceSpec,
    unit: Record,
    configs: Iterable[LaunchConfig],
    siblings: dict[str, int],
    counter: _Counter,
    volumes: StackVolumes,
    indexes: ServiceIndexes,
) -> None:
    requested = (unit["labels"] or {}).get(REQUESTED_HOST_LABEL)
    for config in _in_order(list(configs)):
        values = member_values(
            spec,
            config,
            index=int(unit["serviceIndex"]),
            unit_uuid=unit.uuid,
            create_index=counter.next(),
            siblings=siblings,
            requested_host_id=int(requested) if requested else None,
        )
        if spec.record.kind == "loadBalancerService" and config.name == PRIMARY:
            values.update(stand_in(context.settings, config.fields))
        if avoided := avoided_hosts(unit, now_ms()):
            values["avoidedHostIds"] = avoided
        volumes.apply(changes, values, config=config, unit=unit)
        indexes.apply(changes, values, config=config)
        instance = plan_instance(context, changes, values)
        siblings[config.name] = instance.id
        changes.insert(
            "serviceExposeMap",
            {
                "kind": "serviceExposeMap",
                "uuid": str(uuid.uuid4()),
                "accountId": spec.account_id,
                "serviceId": spec.id,
                "instanceId": instance.id,
                "dnsPrefix": config.name or None,
                "managed": True,
                "upgrade": False,
                "state": "active",
                "created": now_ms(),
            },
        )


def _in_order(configs: list[LaunchConfig]) -> list[LaunchConfig]:
    """Those that others take volumes or network from come first. The API has refused cycles."""
    ordered: list[LaunchConfig] = []
    names = {config.name for config in configs}
    waiting = list(configs)
    while waiting:
        placed = {config.name for config in ordered}
        ready = [c for c in waiting if not (c.depends_on & names) - placed] or waiting[:1]
        ordered.extend(ready)
        waiting = [c for c in waiting if c not in ready]
    return ordered


async def _remove(context: Context, spec: ServiceSpec, steps: Steps) -> None:
    members = len(steps.remove_members) + sum(len(unit.members) for unit in steps.remove_units)
    if not members and not steps.remove_units:
        return
    await context.store.ensure_ids("processInstance", members + 16)
    changes = context.store.changes()
    for unit in steps.remove_units:
        plan_unit_removal(context, changes, unit)
    for unit in steps.recreate:
        if unit.record is not None:
            plan_failure(changes, unit.record, unit.host_id, now_ms())
    for member in steps.remove_members:
        plan_member_removal(context, changes, member)
    _log_removal(changes, spec, steps)
    await _commit_or_split(context, changes, steps)


def _log_removal(changes: Changes, spec: ServiceSpec, steps: Steps) -> None:
    surplus = [str(member.record.name) for unit in steps.remove_units for member in unit.members.values()]
    if surplus:
        plan_entry(changes, spec, DELETED, named("Removing extra", surplus))
    replaced = [str(member.record.name) for member in steps.remove_members]
    if replaced:
        plan_entry(changes, spec, DELETED, named("Removing unhealthy or broken", replaced))


async def _commit_or_split(context: Context, changes: Changes, steps: Steps) -> None:
    """One member that moved on meanwhile must not keep the others: fall back to one plan each."""
    try:
        await context.store.commit(changes)
    except StoreError:
        for unit in steps.remove_units:
            alone = context.store.changes()
            plan_unit_removal(context, alone, unit)
            await _try(context, alone)
        for member in steps.remove_members:
            alone = context.store.changes()
            plan_member_removal(context, alone, member)
            await _try(context, alone)


async def _try(context: Context, changes: Changes) -> None:
    try:
        await context.store.commit(changes)
    except StoreError:
        return  # it has changed since we looked; the change brings the loop back with a fresh look


def plan_unit_removal(context: Context, changes: Changes, unit: Unit) -> None:
    """Remove a unit's row and all its containers."""
    if unit.record is not None:
        changes.update(unit.record, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
        changes.release_all(unit.record)
    plan_release(changes, unit.members.values())
    for member in unit.members.values():
        plan_member_removal(context, changes, member)


def plan_member_removal(context: Context, changes: Changes, member: Member) -> None:
    if member.state in GONE:
        return
    if member.expose_id is not None:
        exposure = Record("serviceExposeMap", member.expose_id, {})
        changes.update(exposure, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
    plan_stop_and_remove(context, changes, member.record, RECONCILE)


async def _start(context: Context, spec: ServiceSpec, steps: Steps) -> None:
    if not steps.start:
        return
    await context.store.ensure_ids("processInstance", len(steps.start) + 16)
    changes = context.store.changes()
    for member in steps.start:
        try:
            context.engine.schedule(changes, "instance.start", member.record)
        except ProcessConflict:
            continue  # already on its way
    plan_entry(changes, spec, STARTED, named("Starting stopped", [str(member.record.name) for member in steps.start]))
    try:
        await context.store.commit(changes)
    except StoreError:
        for member in steps.start:
            alone = context.store.changes()
            if context.engine.can_schedule("instance.start", member.record):
                context.engine.schedule(alone, "instance.start", member.record)
                await _try(context, alone)
