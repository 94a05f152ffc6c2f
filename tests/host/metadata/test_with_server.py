"""The metadata program beside a whole server: what changes there is answered here."""

from __future__ import annotations

import asyncio
import base64

import aiohttp
import pytest

from drover.client.world import World
from drover.client.world.follow import follow
from drover.common.clock import now_ms
from drover.common.settings import load_settings
from drover.host.metadata.program import MetadataProgram
from drover.host.metadata.settings import MetadataSettings
from tests.server.api.channels.conftest import Wire, wire
from tests.server.api.channels.world_rows import METADATA, agent_of, change, container_on, host_of

pytestmark = pytest.mark.anyio

SECONDS = 60.0

__all__ = ["wire"]


async def test_a_change_on_the_server_is_an_answer_on_the_host(wire: Wire) -> None:
    host = await host_of(wire, await wire.register())
    own = await container_on(wire, host, uuid="metadata-1", labels=METADATA, system=True, state="running")
    agent = await agent_of(wire, own)
    access, _, secret = base64.b64decode(agent.headers["Authorization"].split()[1]).decode().partition(":")
    flags = {"server_url": wire.url, "access_key": access, "secret_key": secret, "xff": True}
    program = MetadataProgram(load_settings(MetadataSettings, flags=flags, environ={}))
    stop = asyncio.Event()
    async with asyncio.timeout(SECONDS), program.listener.listening("127.0.0.1", 0) as port:
        running = asyncio.create_task(program.run(stop))
        base = f"http://127.0.0.1:{port}"
        replica = World()
        deltas = follow(base, replica)
        await anext(deltas)
        web = await container_on(wire, host, uuid="c-1", name="Web-1", state="starting")
        while "c-1" not in replica.containers:
            await anext(deltas)
        headers = {"X-Forwarded-For": "10.42.0.9"}
        async with aiohttp.ClientSession(base, headers=headers) as session:

            async def text(path: str) -> str:
                async with session.get(path) as answer:
                    return await answer.text()

            version = await text("/latest/version")
            waiting = asyncio.create_task(text(f"/latest/version?wait=true&value={version}&maxWait=30"))
            await change(wire, web, state="running")
            assert await waiting != version
            assert await text("/latest/containers/web-1/state") == "running"
            assert await text("/2015-12-19/containers/Web-1/state") == "running"
            await change(wire, web, removed=now_ms())
            while "c-1" in replica.containers:
                await anext(deltas)
            assert await text("/latest/containers/web-1/state") == "Not found\n"
        await deltas.aclose()
        stop.set()
        await running
