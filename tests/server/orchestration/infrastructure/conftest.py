"""A whole server without its socket: environments are made by its API, on simulated hosts."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drover.server.assembly import Assembly
from drover.server.orchestration.context import Context
from drover.server.store import Record, Store
from drover.simulator.model import OVERRIDES_KEY
from tests.server.api.client import ApiClient
from tests.server.data_dirs import prepare

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment, with helpers that read as the user's steps."""

    assembly: Assembly
    id: int

    @property
    def context(self) -> Context:
        return self.assembly.context

    @property
    def store(self) -> Store:
        return self.assembly.context.store

    @property
    def api(self) -> ApiClient:
        return ApiClient(self.assembly.api, f"/v2-beta/projects/1a{self.id}")

    @property
    def assembly_api(self) -> ApiClient:
        """Outside of any environment."""
        return ApiClient(self.assembly.api, "/v2-beta")

    async def add_host(self, name: str) -> Record:
        changes = self.store.changes()
        own_uuid = str(uuid.uuid4())
        agent = changes.insert(
            "agent",
            {
                "uuid": own_uuid,
                "kind": "registeredAgent",
                "state": "requested",
                "uri": f"sim://{own_uuid}",
                "agentResourcesAccountId": self.id,
                "data": {OVERRIDES_KEY: {"hostname": name}},
            },
        )
        self.context.engine.schedule(changes, "agent.create", agent)
        await self.store.commit(changes)
        return await self.eventually(lambda: self.store.first("host", agentId=agent.id, state="active"))

    async def stack(self, name: str, state: str = "active") -> Record:
        return await self.eventually(
            lambda: self.store.first("stack", accountId=self.id, name=name, state=state, removed=None)
        )

    async def service(self, stack: str, name: str, state: str = "active") -> Record:
        """The service once it is in this state."""
        owner = await self.stack(stack)
        return await self.eventually(lambda: self.store.first("service", stackId=owner.id, name=name, state=state))

    async def network(self, name: str) -> Record:
        return await self.eventually(
            lambda: self.store.first("network", accountId=self.id, name=name, state="active", removed=None)
        )

    async def containers(self, service: Record, *, running: bool = True) -> list[Record]:
        wanted = {"state": "running"} if running else {}
        return await self.store.find_by("instance", serviceId=service.id, removed=None, **wanted)

    async def run(self, **fields: Any) -> Record:
        """Create a container by the API and wait until it runs."""
        body = {"type": "container", "imageUuid": "docker:nginx", **fields}
        answer = await self.api.post("containers", body)
        assert answer.status == 201, answer.json
        return await self.until("instance", number(answer.json["id"]), "running")

    async def until(self, type_name: str, row_id: int, state: str) -> Record:
        def reached(row: Record | None) -> bool:
            return row is not None and row.state == state

        try:
            found = await self.context.watch.until(type_name, row_id, reached, timeout=TIMEOUT)
        except TimeoutError:
            last = await self.store.get(type_name, row_id)
            pytest.fail(f"{last} did not become {state}: {last and last['transitioningMessage']}")
        assert found is not None
        return found

    async def eventually(self, look: Callable[[], Any]) -> Any:
        """Repeat a question until its answer is true."""
        return await eventually(look)


async def eventually(look: Callable[[], Any]) -> Any:
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


def number(api_id: str) -> int:
    """``1i17`` -> 17."""
    return int(api_id.lstrip("1").lstrip("abcdefghijklmnopqrstuvwxyz"))


@dataclass(frozen=True, slots=True)
class Server:
    assembly: Assembly

    @property
    def api(self) -> ApiClient:
        return ApiClient(self.assembly.api, "/v2-beta")

    @property
    def store(self) -> Store:
        return self.assembly.context.store

    async def set(self, name: str, value: str) -> None:
        """Store a setting, as an administrator would."""
        changes = self.store.changes()
        changes.insert("setting", {"name": name, "value": value})
        await self.store.commit(changes)

    async def template(self, name: str) -> dict[str, Any]:
        found = (await self.api.get("projecttemplates", query={"name": name})).json["data"]
        assert len(found) == 1
        return dict(found[0])

    async def create_environment(self, name: str, **fields: Any) -> Environment:
        answer = await self.api.post("projects", {"name": name, **fields})
        assert answer.status == 201, answer.json
        return Environment(self.assembly, number(answer.json["id"]))

    async def from_template(self, template: str) -> Environment:
        found = await self.template(template)
        return await self.create_environment("test", projectTemplateId=found["id"])


@contextlib.asynccontextmanager
async def serving(path: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CATTLE_TASK_AGENT_PING_SCHEDULE", "500ms")
        for name, value in (settings or {}).items():
            patch.setenv(name, value)
        async with (
            Assembly.open(await prepare(path), "", "none", ()) as assembly,
            assembly.api.router.lifespan_context(assembly.api),
        ):
            yield Server(assembly)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path) as running:
        yield running
