"""The processes of a stack, and the walks over its services."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import Chain, Done, Handlers, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.spec import ACTIVE_STATES
from drover.server.store import Record, StoreError

log = structlog.get_logger(__name__)

_GONE_SECONDS = 600.0


class Deployer(Protocol):
    """Creates and upgrades the services of a stack from its Compose texts."""

    async def create(self, stack: Record) -> None:
        """Make everything that the texts describe; what exists already is left alone. Raises DeployError."""

    async def upgrade(self, stack: Record, run: Run) -> dict[str, object]:
        """Bring the services to the texts of the process data; returns values for the stack. Raises DeployError."""


class DeployError(Exception):
    """The Compose texts cannot be deployed; the message is for the user."""


class StackHandlers:
    """What happens to stacks, process by process."""

    def __init__(self, context: Context, deployer: Deployer) -> None:
        self._context = context
        self._deployer = deployer

    def register(self, handlers: Handlers) -> None:
        handlers.register("stack.create", self.create)
        handlers.register("stack.upgrade", self.upgrade)
        handlers.register("stack.finishupgrade", self.finish_upgrade)
        handlers.register("stack.rollback", self.roll_back)
        handlers.register("stack.remove", self.remove)

    async def create(self, run: Run) -> Done | Chain:
        if not run.record["dockerCompose"]:
            return Done()
        try:
            await self._deployer.create(run.record)
        except DeployError as error:
            return Chain("stack.error", {"transitioning": "error", "transitioningMessage": str(error)})
        return Done()

    async def upgrade(self, run: Run) -> Done | Chain:
        try:
            values = await self._deployer.upgrade(run.record, run)
        except DeployError as error:
            # A failed upgrade must leave a state from which rollback, retry and cancel work.
            return Done({"transitioning": "error", "transitioningMessage": str(error)})
        return Done(values)

    async def finish_upgrade(self, run: Run) -> Done:
        await self._each_service(run.record, "service.finishupgrade")
        return Done({"previousExternalId": None, "previousEnvironment": None})

    async def roll_back(self, run: Run) -> Done:
        await self._each_service(run.record, "service.rollback")
        return Done(
            {
                "externalId": run.record["previousExternalId"] or run.record["externalId"],
                "environment": run.record["previousEnvironment"] or run.record["environment"],
                "previousExternalId": None,
                "previousEnvironment": None,
            }
        )

    async def remove(self, run: Run) -> Done:
        services = await self._services(run.record)
        for service in services:
            await self._schedule("service.remove", service)
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(self._until_gone(service))
        changes = run.store.changes()
        for template in await run.store.find_by("volumeTemplate", stackId=run.record.id, removed=None):
            changes.update(template, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
        changes.release_all(run.record)
        return Done({"removed": now_ms(), "removeTime": now_ms()}, changes)

    async def _each_service(self, stack: Record, process: str) -> None:
        """Run a process on every service that allows it, and wait until all have settled."""
        services = [each for each in await self._services(stack) if self._context.engine.can_schedule(process, each)]
        for service in services:
            await self._schedule(process, service)
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(self._until_active(service))

    async def _services(self, stack: Record) -> list[Record]:
        return await self._context.store.find_by("service", stackId=stack.id, removed=None)

    async def _schedule(self, process: str, service: Record) -> None:
        for _ in range(5):
            changes = self._context.store.changes()
            try:
                self._context.engine.schedule(changes, process, service)
                await self._context.store.commit(changes)
            except ProcessConflict:
                return  # under way already, or not possible from here: the wait that follows tells
            except StoreError:
                fresh = await self._context.store.get("service", service.id)
                if fresh is None:
                    return
                service = fresh
                continue
            return

    async def _until_gone(self, service: Record) -> None:
        await self._context.watch.until(
            "service", service.id, lambda r: r is None or r["removed"] is not None, timeout=_GONE_SECONDS
        )

    async def _until_active(self, service: Record) -> None:
        await self._context.watch.until(
            "service",
            service.id,
            lambda r: r is None or r["removed"] is not None or r.state in ("active", "inactive", "canceled-upgrade"),
            timeout=_GONE_SECONDS,
        )


async def activate_services(context: Context, stack: Record) -> None:
    """Schedule the activation of every inactive service, in the order of their links. Returns at once."""
    services = {s.id: s for s in await context.store.find_by("service", stackId=stack.id, removed=None)}
    links = (
        await context.store.find_by("serviceConsumeMap", serviceId=tuple(services), removed=None) if services else []
    )
    uses: dict[int, set[int]] = {service_id: set() for service_id in services}
    for link in links:
        consumed = link["consumedServiceId"]
        if consumed in services:
            uses[int(link["serviceId"])].add(int(consumed))
    changes = context.store.changes()
    scheduled: list[int] = []
    for service_id in _by_dependency(uses):
        service = services[service_id]
        if service.state != "inactive":
            continue
        wait_for = [each for each in scheduled if each in uses[service_id]]
        context.engine.schedule(changes, "service.activate", service, {"waitForConsumedServicesIds": wait_for})
        scheduled.append(service_id)
    await context.store.commit(changes)


async def deactivate_services(context: Context, stack: Record) -> None:
    """Schedule the deactivation of every active service. Returns at once."""
    changes = context.store.changes()
    for service in await context.store.find_by("service", stackId=stack.id, removed=None):
        if service.state in ACTIVE_STATES and context.engine.can_schedule("service.deactivate", service):
            context.engine.schedule(changes, "service.deactivate", service)
    await context.store.commit(changes)


def _by_dependency(uses: dict[int, set[int]]) -> list[int]:
    """Used services first. A cycle is cut at its lowest id."""
    ordered: list[int] = []
    left = dict(uses)
    while left:
        ready = [each for each in left if not uses[each] - set(ordered) - {each}] or [min(left)]
        ordered.extend(ready)
        for each in ready:
            del left[each]
    return ordered
