"""The processes of a service. They say what shall be; the reconcile loop makes it so."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from drover.common.clock import now_ms
from drover.server.lifecycle import Chain, Done, Handlers, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.digest import GONE, Digest
from drover.server.orchestration.services.external import KIND, plan_targets
from drover.server.orchestration.services.health import service_health
from drover.server.orchestration.services.random_ports import RandomPorts
from drover.server.orchestration.services.reconciler import Reconciler
from drover.server.orchestration.services.retained import adopt_addresses, plan_index_removal
from drover.server.orchestration.services.steps import plan_member_removal, plan_unit_removal
from drover.server.store import Record, StoreError

_CONSUMED_SETTLED_SECONDS = 600.0
_TOKEN_BYTES = 20  # of the secret that the containers of a service find in their metadata, and nobody else


class Companion(Protocol):
    """What exists beside the containers of a service of some kind, such as the network that its driver provides."""

    async def keep(self, service: Record) -> None:
        """Make it what the service says; called when the service is created, activated and updated."""

    async def drop(self, service: Record) -> None:
        """The service goes, and it goes along."""


class ServiceHandlers:
    """What happens to services, process by process. ``companions`` are found by the kind of the service."""

    def __init__(
        self, context: Context, reconciler: Reconciler, companions: Mapping[str, Companion] | None = None
    ) -> None:
        self._context = context
        self._reconciler = reconciler
        self._companions = companions or {}
        self._random_ports = RandomPorts(context)

    def register(self, handlers: Handlers) -> None:
        handlers.register("service.create", self.create)
        handlers.register("service.activate", self.converge)
        handlers.register("service.update", self.converge)
        handlers.register("service.deactivate", self.deactivate)
        handlers.register("service.remove", self.remove)

    async def create(self, run: Run) -> Done | Chain:
        stack = await run.store.get("stack", int(run.record["stackId"]))
        await self._keep_companion(run.record)
        changes = run.plan()
        values = {
            "healthState": run.record["healthState"] or "healthy",
            "system": bool(stack and stack["system"]),
            "token": run.record["token"] or secrets.token_hex(_TOKEN_BYTES),
            **await self._random_ports.plan(changes, run.record),
        }
        if run.record["startOnCreate"]:
            return Chain("service.activate", values, changes=changes)
        return Done(values, changes)

    async def converge(self, run: Run) -> Done:
        """Done when everything that the service asks for exists and runs; until then it says what is missing."""
        if run.record.kind == KIND:
            changes = run.plan()
            await plan_targets(run.store, changes, run.record)
            return Done(_cleared(run.record), changes)
        await self._keep_companion(run.record)
        if run.record.state == "updating-inactive":
            return Done()
        await self._await_consumed(run)
        await self._adopt_addresses(run.record)
        standing = await self._reconciler.next_standing(run.record.id)
        while not standing.converged:
            await self._show(run, standing.problem)
            standing = await self._reconciler.pass_ended(run.record.id)
        values: dict[str, Any] = {**_cleared(run.record), "currentScale": standing.units}
        digest = self._reconciler.digest(run.record.id)
        if digest is not None:  # whoever waited for this sees the health that belongs to it, not a former one
            hosts = self._reconciler.serving_hosts(digest.spec.account_id)
            values["healthState"] = service_health(digest, serving_hosts=hosts)
        return Done(values)

    async def _adopt_addresses(self, service: Record) -> None:
        digest = await self._reconciler.load(service.id) if service["retainIp"] else None
        if digest is not None:
            await adopt_addresses(self._context, digest)

    async def _keep_companion(self, service: Record) -> None:
        companion = self._companions.get(service.kind)
        if companion is not None:
            await companion.keep(service)

    @staticmethod
    async def _show(run: Run, problem: str | None) -> None:
        shown = run.record["transitioningMessage"] if run.record["transitioning"] else None
        if problem == shown:
            return
        if problem is None:
            await run.apply(_cleared(run.record))
        else:
            await run.apply({"transitioning": "errorOverride", "transitioningMessage": problem})

    async def _await_consumed(self, run: Run) -> None:
        """A stack that is started in order: first the services that this one uses."""
        for service_id in run.data.get("waitForConsumedServicesIds") or []:
            await self._context.watch.until(
                "service",
                int(service_id),
                lambda record: (
                    record is None or record["removed"] is not None or record.state in ("active", "upgraded")
                ),
                timeout=_CONSUMED_SETTLED_SECONDS,
            )

    async def deactivate(self, run: Run) -> Done:
        digest = await self._reconciler.load(run.record.id)
        for member in [] if digest is None else list(digest.members()):
            changes = run.store.changes()
            try:
                self._context.engine.schedule(changes, "instance.stop", member.record)
                await run.store.commit(changes)
            except (ProcessConflict, StoreError):
                continue  # stopped, stopping or leaving already
        return Done(_cleared(run.record))

    async def remove(self, run: Run) -> Done:
        digest = await self._reconciler.load(run.record.id)
        if digest is not None:
            await self._remove_units(digest)
        companion = self._companions.get(run.record.kind)
        if companion is not None:
            await companion.drop(run.record)
        changes = run.store.changes()
        for type_name, field in (
            ("serviceConsumeMap", "serviceId"),
            ("serviceConsumeMap", "consumedServiceId"),
            ("serviceExposeMap", "serviceId"),
        ):
            for record in await run.store.find_by(type_name, removed=None, **{field: run.record.id}):
                changes.update(record, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
        for index in await run.store.find_by("serviceIndex", serviceId=run.record.id, removed=None):
            plan_index_removal(changes, index)
        changes.release_all(run.record)
        return Done({**_cleared(run.record), "removed": now_ms(), "removeTime": now_ms()}, changes)

    async def _remove_units(self, digest: Digest) -> None:
        for unit in list(digest.units.values()):
            changes = self._context.store.changes()
            plan_unit_removal(self._context, changes, unit)
            try:
                await self._context.store.commit(changes)
            except StoreError:
                await self._remove_one_by_one(digest, unit.uuid)

    async def _remove_one_by_one(self, digest: Digest, unit_uuid: str) -> None:
        """A member changed under our hands: take each as it is now, until none is left that stays."""
        for _ in range(10):
            unit = digest.units.get(unit_uuid)
            if unit is None:
                return
            left = [m for m in unit.members.values() if m.state not in GONE]
            changes = self._context.store.changes()
            if unit.record is not None:
                plan_unit_removal(self._context, changes, unit)
            else:
                for member in left:
                    plan_member_removal(self._context, changes, member)
            try:
                await self._context.store.commit(changes)
            except StoreError:
                continue
            return


def _cleared(record: Record) -> dict[str, None]:
    """Take back an error text that was shown, if there was one."""
    if record["transitioning"] is None and record["transitioningMessage"] is None:
        return {}
    return {"transitioning": None, "transitioningMessage": None}
