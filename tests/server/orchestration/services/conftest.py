"""The orchestration of a whole server, without API, over simulated hosts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from drover.common.clock import now_ms
from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Handlers, Run, Watch
from drover.server.orchestration.context import Context
from drover.server.orchestration.hosts_and_instances import Hosting, assemble
from drover.server.orchestration.networks.defaults import plan_default_networks
from drover.server.orchestration.seed import seed
from drover.server.orchestration.services import Services, build
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.resources import catalog
from drover.server.store import Record, Store


class NoCompose:
    """These tests create services directly."""

    async def create(self, stack: Record) -> None:
        raise AssertionError("no stack of these tests has Compose texts")

    async def upgrade(self, stack: Record, run: Run) -> dict[str, object]:
        raise AssertionError("no stack of these tests has Compose texts")


@dataclass
class World:
    """One environment with simulated hosts."""

    context: Context
    hosting: Hosting
    services: Services
    account: Record

    @property
    def store(self) -> Store:
        return self.context.store

    async def add_host(self, **labels: str) -> Record:
        """A simulated host, active, with these labels."""
        changes = self.store.changes()
        agent_uuid = str(uuid.uuid4())
        agent = changes.insert(
            "agent",
            {
                "kind": "registeredAgent",
                "uuid": agent_uuid,
                "uri": f"sim://{agent_uuid}",
                "state": "requested",
                "managedConfig": True,
                "created": now_ms(),
                "agentResourcesAccountId": self.account.id,
            },
        )
        self.context.engine.schedule(changes, "agent.create", agent)
        await self.store.commit(changes)
        async with asyncio.timeout(30):
            while not (found := await self.store.find_by("host", agentId=agent.id, state="active")):
                await asyncio.sleep(0.02)
        host = found[0]
        if labels:
            changes = self.store.changes()
            host = changes.update(host, {"labels": {**(host["labels"] or {}), **labels}})
            await self.store.commit(changes)
        return host

    async def create_service(self, name: str = "web", **values: Any) -> Record:
        changes = self.store.changes()
        stack = await self.store.first("stack", name="shop", removed=None)
        if stack is None:
            stack = changes.insert(
                "stack", {"name": "shop", "accountId": self.account.id, "state": "active", "kind": "stack"}
            )
        launch = {"imageUuid": "sim:web", **values.pop("launchConfig", {})}
        service = changes.insert(
            "service",
            {
                "kind": "service",
                "name": name,
                "uuid": str(uuid.uuid4()),
                "accountId": self.account.id,
                "stackId": stack.id,
                "state": "requested",
                "scale": 1,
                "startOnCreate": True,
                "launchConfig": launch,
                "created": now_ms(),
                **values,
            },
        )
        self.context.engine.schedule(changes, "service.create", service)
        await self.store.commit(changes)
        return service

    async def run(self, process: str, record: Record, values: dict[str, Any] | None = None, **data: Any) -> Record:
        """Schedule a process, with new values for the resource in the same commit; returns the resource afterwards."""
        fresh = await self.store.get(record.type, record.id)
        assert fresh is not None
        changes = self.store.changes()
        planned = changes.update(fresh, values or {})
        self.context.engine.schedule(changes, process, planned, data)
        await self.store.commit(changes)
        return planned

    async def until(self, record: Record, state: str, *, timeout: float = 40) -> Record:
        found = await self.context.watch.until(
            record.type, record.id, lambda r: r is not None and r.state == state, timeout=timeout
        )
        assert found is not None
        return found

    async def containers(self, service: Record, *states: str) -> list[Record]:
        """The service's containers that are not removed, by name."""
        found = await self.store.find_by("instance", serviceId=service.id, removed=None)
        return sorted((r for r in found if not states or r.state in states), key=lambda r: str(r.name))

    async def until_names(self, service: Record, *names: str, timeout: float = 40) -> list[Record]:
        """Wait until exactly these containers of the service exist, all running."""
        async with asyncio.timeout(timeout):
            while True:
                found = await self.containers(service)
                if [r.name for r in found] == sorted(names) and all(r.state == "running" for r in found):
                    return found
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    settings = Settings(store, environment={})
    await settings.start()
    handlers = Handlers()

    engine = Engine(store, catalog().processes, handlers)
    context = Context(
        store=store, engine=engine, bus=Bus(), watch=Watch(store), settings=settings, vault=Vault(bytes(32))
    )
    hosting = assemble(context, handlers)
    services = build(context, handlers, NoCompose())
    await seed(context, auth="none", project_seeds=[plan_default_networks])
    account = await store.first("account", uuid="adminProject")
    assert account is not None
    keepers = (services.reconciler, services.health, services.membership)
    runs = [each.run() for each in (*hosting.services, *keepers)]
    tasks = [asyncio.create_task(run) for run in runs]
    yield World(context, hosting, services, account)
    await engine.stop()
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert not isinstance(outcome, Exception), outcome
