"""From a container that answers, or not, to what the API says of its health: a whole server and a whole checker."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from drover.client.world import World
from drover.client.world.upstream import Upstream
from drover.host.health.checker import Checker
from drover.host.health.checklist import Target
from drover.host.health.probe import probe
from drover.host.health.reports import Reports
from tests.server.api.channels.conftest import Agent, Wire

pytestmark = pytest.mark.anyio

CHECK = {
    "port": 80,
    "interval": 100,
    "responseTimeout": 1000,
    "healthyThreshold": 2,
    "unhealthyThreshold": 3,
    "requestLine": 'GET "/ready" "HTTP/1.0"',
}


@dataclass
class Web:
    """What every container of these tests is: one small server on this machine."""

    status: int = 200
    asked: list[bytes] = field(default_factory=list)
    port: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.0 {self.status} X\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async def look(self, target: Target) -> str | None:
        await self.open.wait()
        return await probe(dataclasses.replace(target, address="127.0.0.1", port=self.port))


def keys_of(agent: Agent) -> tuple[str, str]:
    access, _, secret = base64.b64decode(agent.headers["Authorization"].split()[1]).decode().partition(":")
    return access, secret


async def until(look: Callable[[], Awaitable[Any]], reached: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(30):
        while not reached(found := await look()):
            await asyncio.sleep(0.02)
    return found


async def simulated_host(wire: Wire) -> Agent:
    agent = await wire.register(uri_format="sim://%s")
    await until(lambda: wire.assembly.context.store.find_by("host", agentId=agent.id, state="active"), bool)
    return agent


async def running_container(wire: Wire, name: str = "web-simUnhealthy") -> dict[str, Any]:
    made = await wire.create("containers", imageUuid="sim:web", name=name, healthCheck=CHECK)
    found: dict[str, Any] = await until(
        lambda: read(wire, made), lambda found: found["state"] == "running" and found["healthcheckStates"]
    )
    return found


async def read(wire: Wire, resource: dict[str, Any]) -> dict[str, Any]:
    _, found = await wire.call("GET", resource["links"]["self"])
    return found


async def health(wire: Wire, container: dict[str, Any]) -> Any:
    return (await read(wire, container))["healthState"]


@contextlib.asynccontextmanager
async def checking(wire: Wire, agent: Agent, web: Web) -> AsyncIterator[Checker]:
    """A checker that follows the server's own stream and reports to it."""
    access, secret = keys_of(agent)
    world = World()
    reports = Reports(wire.url, access, secret, retry_seconds=0.05)
    checker = Checker(world, reports, probe=web.look, debounce=0.2)

    async def follow() -> None:
        async with aclosing(Upstream(wire.url, access, secret).follow(world)) as deltas:
            async for delta in deltas:
                checker.follow(delta)

    async with await asyncio.start_server(web.serve, "127.0.0.1", 0) as server:
        web.port = server.sockets[0].getsockname()[1]
        tasks = [asyncio.create_task(each) for each in (follow(), checker.run(), reports.run())]
        try:
            yield checker
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_container_is_healthy_while_it_answers(wire: Wire) -> None:
    agent, web = await simulated_host(wire), Web()
    async with checking(wire, agent, web):
        container = await running_container(wire)
        await until(lambda: health(wire, container), lambda found: found == "healthy")
        assert web.asked[0] == b"GET /ready HTTP/1.0\r\n\r\n"

        web.status = 503
        await until(lambda: health(wire, container), lambda found: found == "unhealthy")
        states = (await read(wire, container))["healthcheckStates"]
        assert [(each["hostId"], each["healthState"]) for each in states] == [(container["hostId"], "unhealthy")]

        web.status = 200
        await until(lambda: health(wire, container), lambda found: found == "healthy")


async def test_a_restart_is_checked_anew(wire: Wire) -> None:
    agent, web = await simulated_host(wire), Web()
    async with checking(wire, agent, web):
        container = await running_container(wire)
        await until(lambda: health(wire, container), lambda found: found == "healthy")

        web.open.clear()
        status, _ = await wire.call("POST", (await read(wire, container))["actions"]["restart"])
        assert status == 202
        await until(lambda: health(wire, container), lambda found: found == "reinitializing")
        web.open.set()
        await until(lambda: health(wire, container), lambda found: found == "healthy")


@pytest.mark.parametrize("version", ["v1", "v2-beta"])
async def test_reports_of_an_old_checker(wire: Wire, version: str) -> None:
    agent = await simulated_host(wire)
    container = await running_container(wire)
    host = await wire.assembly.context.store.first("host", agentId=agent.id)
    assert host is not None
    body = {
        "type": "serviceEvent",
        "healthcheckUuid": f"{host.uuid}_{container['uuid']}_1",
        "reportedHealth": "UP",
        "externalTimestamp": 1512345678,
    }

    status, made = await wire.call("POST", f"{wire.url}/{version}/serviceevents", body, **agent.headers)

    assert status == 201, made
    assert made["type"] == "serviceEvent"
    await until(lambda: health(wire, container), lambda found: found == "healthy")


async def test_what_may_not_be_reported(wire: Wire) -> None:
    agent = await simulated_host(wire)
    container = await running_container(wire)
    stranger = await wire.register(1, uri_format="sim://%s")
    host = await wire.assembly.context.store.first("host", agentId=agent.id)
    assert host is not None
    url = f"{wire.url}/v1/serviceevents"
    uuid = f"{host.uuid}_{container['uuid']}_1"
    body = {"healthcheckUuid": uuid, "reportedHealth": "UP", "externalTimestamp": 1}

    for given, headers in (
        (body, stranger.headers),
        ({**body, "healthcheckUuid": "no_such_1"}, agent.headers),
        ({**body, "healthcheckUuid": "nothing"}, agent.headers),
    ):
        status, refusal = await wire.call("POST", url, given, **headers)
        assert (status, refusal["code"]) == (403, "CantVerifyHealthcheck")
    status, _ = await wire.call("POST", url, {"healthcheckUuid": uuid, "reportedHealth": "UP"}, **agent.headers)
    assert status == 422
    assert await health(wire, container) == "initializing"
