"""A server without its API: a real store, engine and bus, with simulated hosts."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drover.server.bus import Bus, Event, Subscription
from drover.server.lifecycle import Engine, Handlers, Watch
from drover.server.orchestration.context import Context
from drover.server.orchestration.hosts_and_instances import Hosting, assemble
from drover.server.orchestration.instances.plan import plan_instance
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.resources import catalog
from drover.server.store import Record, Store
from drover.simulator.model import OVERRIDES_KEY, Answer, SimulatedAgent
from tests.server.conftest import open_store

FAST = {
    "CATTLE_TASK_AGENT_PING_SCHEDULE": "50ms",
    "CATTLE_AGENT_PING_TIMEOUT_SECONDS": "100ms",
    "CATTLE_AGENT_PING_INSTANCES_EVERY": "1",
    "CATTLE_AGENT_PING_RESOURCES_EVERY": "1",
    "CATTLE_AGENT_PING_RECONNECT_AFTER_FAILED_COUNT": "2",
    "CATTLE_AGENT_DISCONNECT_AFTER_SECONDS": "200ms",
    "CATTLE_PROCESS_RETRY_MAX_WAIT_MILLIS": "100",
}
TIMEOUT = 60.0


@dataclass
class Platform:
    """What a test works with: one environment, and helpers that read as the user's steps."""

    store: Store
    context: Context
    hosting: Hosting
    environment: Record

    async def create_agent(self, uri: str = "", **values: Any) -> Record:
        own_uuid = values.pop("uuid", None) or str(uuid.uuid4())
        changes = self.store.changes()
        agent = changes.insert(
            "agent",
            {
                "uuid": own_uuid,
                "kind": "registeredAgent",
                "state": "requested",
                "uri": uri or f"sim://{own_uuid}",
                "agentResourcesAccountId": self.environment.id,
                **values,
            },
        )
        self.context.engine.schedule(changes, "agent.create", agent)
        await self.store.commit(changes)
        return agent

    async def create_host(self, **overrides: Any) -> Record:
        """Register a simulated agent and wait for its host."""
        labels = overrides.pop("labels", None)
        agent = await self.create_agent(data={OVERRIDES_KEY: overrides})
        await self.until("agent", agent.id, "active")
        host = await self.eventually(lambda: self.store.first("host", agentId=agent.id, state="active"))
        if labels:
            changes = self.store.changes()
            host = changes.update(host, {"labels": labels})
            await self.store.commit(changes)
        return host

    async def plan(self, **values: Any) -> Record:
        """Create a container and return at once."""
        changes = self.store.changes()
        given = {"accountId": self.environment.id, "imageUuid": "sim:nginx", **values}
        record = plan_instance(self.context, changes, given)
        await self.store.commit(changes)
        return record

    async def start(self, **values: Any) -> Record:
        """Create a container and wait until it runs."""
        return await self.until("instance", (await self.plan(**values)).id, "running")

    async def schedule(self, process: str, record: Record, **data: Any) -> Record:
        changes = self.store.changes()
        current = await self.store.get(record.type, record.id)
        assert current is not None
        planned = self.context.engine.schedule(changes, process, current, data)
        await self.store.commit(changes)
        return planned

    async def until(self, type_name: str, row_id: int, state: str) -> Record:
        def reached(record: Record | None) -> bool:
            return record is not None and record.state == state

        try:
            found = await self.context.watch.until(type_name, row_id, reached, timeout=TIMEOUT)
        except TimeoutError:
            last = await self.store.get(type_name, row_id)
            pytest.fail(f"{last} did not become {state}: {last and last['transitioningMessage']}")
        assert found is not None
        return found

    async def eventually(self, look: Callable[[], Any]) -> Any:
        """Repeat a question until its answer is true."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                found = look()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.01)

    async def set(self, name: str, value: str) -> None:
        """Store a setting, as an administrator would."""
        changes = self.store.changes()
        changes.insert("setting", {"name": name, "value": value})
        await self.store.commit(changes)

    async def reload(self, record: Record) -> Record:
        found = await self.store.get(record.type, record.id)
        assert found is not None
        return found


def leave_unanswered(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Simulated agents no longer answer these requests; unlike one that is not connected, they answer pings."""
    answer = SimulatedAgent.answer

    def answer_others(agent: SimulatedAgent, asked: str, data: Any, *, now: float) -> Answer:
        return Answer(silent=True) if asked == name else answer(agent, asked, data, now=now)

    monkeypatch.setattr(SimulatedAgent, "answer", answer_others)


async def next_event(subscription: Subscription) -> Event:
    """The one event that comes next."""
    async with asyncio.timeout(TIMEOUT):
        (event,) = await subscription.get_batch()
    return event


@contextlib.asynccontextmanager
async def running(
    path: Path,
    settings: dict[str, str],
    *,
    environment: Record | None = None,
    prepare: Callable[[Platform], Awaitable[None]] | None = None,
) -> AsyncIterator[Platform]:
    """A server's life, from opening the store to its clean end; ``prepare`` runs before it takes up old work."""
    store = await open_store(path)
    handlers = Handlers()
    engine = Engine(store, catalog().processes, handlers, server_id=str(uuid.uuid4()), retry_max_wait=0.1)
    context = Context(store, engine, Bus(), Watch(store), Settings(store, settings), Vault(bytes(32)))
    hosting = assemble(context, handlers)
    if environment is None:
        changes = store.changes()
        environment = changes.insert(
            "account", {"uuid": str(uuid.uuid4()), "kind": "project", "name": "Default", "state": "active"}
        )
        await store.commit(changes)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.run()) for service in hosting.services]
        platform = Platform(store, context, hosting, environment)
        if prepare is not None:
            await prepare(platform)
        await engine.recover()
        try:
            yield platform
        finally:
            for task in tasks:
                task.cancel()
            await engine.stop()
    await store.stop()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    async with running(tmp_path, FAST) as platform:
        yield platform
