"""The program against a whole server with simulated hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from drover.client.scheduling import PRIORITIZE, SCHEDULING_LABEL
from drover.client.world import Full, Host, encode_frame
from drover.host.scheduler.program import Scheduler, healthcheck
from drover.host.scheduler.settings import SchedulerSettings
from drover.server.app import ServerSettings, serving
from drover.server.assembly import Assembly
from drover.server.orchestration.agents.accounts import plan_instance_agent
from drover.server.orchestration.agents.uris import of_instance
from drover.server.orchestration.credentials import unseal
from drover.server.orchestration.instances.plan import plan_instance
from drover.server.store import Record

pytestmark = pytest.mark.anyio

_WAIT = 60.0
GIB = 1024**3


@asynccontextmanager
async def metadata(*objects: Any) -> AsyncIterator[str]:
    """The local stream of a metadata service."""

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(encode_frame(Full("e", 1, objects)) + b"\n")
        await asyncio.sleep(3600)
        return response

    app = web.Application()
    app.router.add_get("/drover/1/world", stream)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Steps:
    """What a user would do, on the server's own parts."""

    def __init__(self, assembly: Assembly) -> None:
        self.context = assembly.context
        self.store = assembly.context.store

    async def environment(self) -> Record:
        found = await self.store.first("account", kind="project")
        assert found is not None
        return found

    async def until(self, type_name: str, row_id: int, *states: str) -> Record:
        found = await self.context.watch.until(
            type_name, row_id, lambda row: row is not None and row.state in states, timeout=_WAIT
        )
        assert found is not None
        return found

    async def host(self, name: str) -> Record:
        environment = await self.environment()
        changes = self.store.changes()
        values = {
            "uuid": name,
            "kind": "registeredAgent",
            "state": "requested",
            "uri": f"sim://{name}",
            "agentResourcesAccountId": environment.id,
        }
        agent = changes.insert("agent", values)
        self.context.engine.schedule(changes, "agent.create", agent)
        await self.store.commit(changes)
        async with asyncio.timeout(_WAIT):
            while (found := await self.store.first("host", agentId=agent.id, state="active")) is None:
                await asyncio.sleep(0.02)
        return found

    async def container(self, *states: str, **values: Any) -> Record:
        environment = await self.environment()
        changes = self.store.changes()
        given = {"accountId": environment.id, "imageUuid": "sim:nginx", **values}
        record = plan_instance(self.context, changes, given)
        await self.store.commit(changes)
        return await self.until("instance", record.id, *(states or ("running",)))

    async def remove(self, container: Record) -> None:
        changes = self.store.changes()
        current = await self.store.get("instance", container.id)
        assert current is not None
        self.context.engine.schedule(changes, "instance.stop", current, {"timeout": 0, "remove": True})
        await self.store.commit(changes)
        await self.until("instance", container.id, "removed", "purging", "purged")

    async def keys(self, container: Record) -> tuple[str, str]:
        """Give a container an agent; its keys."""
        environment = await self.environment()
        changes = self.store.changes()
        agent, keys = plan_instance_agent(
            changes,
            self.context.vault,
            uri=of_instance(container.id),
            environment_id=environment.id,
            roles=(),
            system=True,
        )
        changes.update(container, {"agentId": agent.id})
        await self.store.commit(changes)
        key = keys[0][1]
        return str(key["publicValue"]), unseal(key, self.context.vault)


async def test_a_server_places_where_the_program_says(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path, listen="127.0.0.1:0", auth="none")
    async with serving(settings) as server:
        steps = Steps(server.assembly)
        hosts = [await steps.host(f"sim-{number}") for number in range(3)]
        container = await steps.container(labels={SCHEDULING_LABEL: "true"}, requestedHostId=hosts[0].id)
        access, secret = await steps.keys(container)
        full = [Host(uuid=each.uuid, name=each.uuid, state="active", memory=GIB) for each in hosts[:2]]
        last = Host(uuid=hosts[2].uuid, name="last", state="active", memory=8 * GIB)
        async with metadata(*full, last) as address:
            scheduler = Scheduler(
                SchedulerSettings(
                    server_url=f"{server.url}/v1", access_key=access, secret_key=secret, metadata_address=address
                )
            )
            running = asyncio.create_task(scheduler.run())
            async with healthcheck("127.0.0.1:0", scheduler) as port, aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{port}/healthcheck"
                async with session.get(url) as early:
                    assert early.status in (200, 503)
                agent = (await steps.until("instance", container.id, "running"))["agentId"]
                async with asyncio.timeout(_WAIT):
                    while not scheduler.healthy or not steps.context.bus.has_subscriber(f"{PRIORITIZE};agent={agent}"):
                        await asyncio.sleep(0.02)
                async with session.get(url) as late:
                    assert late.status == 200
                # For the server all three hosts are alike; the program's metadata say otherwise.
                for _ in range(3):
                    placed = await steps.container(memoryReservation=2 * GIB)
                    assert placed["hostId"] == hosts[2].id
                refused = await steps.container("error", memoryReservation=4 * GIB)
                assert "the scheduler service offers 0 of 3 hosts" in refused["transitioningMessage"]
                assert scheduler.answered >= 7
                assert scheduler.report()["hosts"]["last"]["usedMemory"] == 6 * GIB  # type: ignore[index]
            running.cancel()
            await asyncio.wait({running})
        # Without the program, the server places by itself.
        assert (await steps.container(memoryReservation=2 * GIB))["hostId"] is not None
