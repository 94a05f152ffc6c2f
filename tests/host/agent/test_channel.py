"""The event channel: both wire formats, reconnecting, registration, and a clean end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from aiohttp import web

from drover.client.events import HOST_AGENT_EVENTS
from drover.host.agent.errors import IdentityError, RegistrationError
from tests.host.agent.conftest import PATIENCE, WireServer

pytestmark = [pytest.mark.anyio, pytest.mark.docker]

PING = {"options": {"resources": True}}


async def test_answers_an_original_server_by_publish(make_server, engine, settings_for, run_for, new_instance):
    server = await make_server(extension=False)
    async with run_for(settings_for(server), server):
        reply = await server.call("compute.instance.activate", "instanceHostMap", "1ihm1", new_instance("old"))
    assert reply["data"]["instanceHostMap"]["instance"]["externalId"]
    assert reply["resourceType"] == "instanceHostMap"
    assert reply["resourceId"] == "1ihm1"
    assert server.published >= 1


async def test_answers_a_drover_server_on_the_socket(agent):
    assert (await agent.call("ping", "agent", "1a1", PING))["data"]["resources"]
    assert agent.published == 0
    assert set(agent.subscriptions[0]) == set(HOST_AGENT_EVENTS)


async def test_registers_once_and_comes_back_as_the_same_host(server, engine, settings_for, run_for):
    hosts = []
    for _ in range(2):
        async with run_for(settings_for(server), server):
            reply = await server.call("ping", "agent", "1a1", PING)
            hosts.append(next(e["uuid"] for e in reply["data"]["resources"] if e["type"] == "host"))
    assert hosts[0] == hosts[1]
    assert server.register_posts == 1
    (token,) = server.registered
    assert len(token) == 128
    async with run_for(settings_for(server, new_identity=True), server):
        reply = await server.call("ping", "agent", "1a1", PING)
    assert next(e["uuid"] for e in reply["data"]["resources"] if e["type"] == "host") != hosts[0]
    assert server.register_posts == 2


async def test_reconnects_and_finishes_what_it_was_doing(server, engine, settings_for, run_for, new_instance):
    data = new_instance("survivor", fields={"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]})
    async with run_for(settings_for(server), server):
        await server.call("compute.instance.activate", "instanceHostMap", "1ihm1", data)
        request = await server.send(
            "compute.instance.deactivate", "instanceHostMap", "1ihm1", data | {"processData": {"timeout": 1}}
        )
        await server.sockets[-1].close()
        reply = await server.reply(request)
        assert reply.get("transitioning") is None
        assert len(server.subscriptions) == 2


async def test_waits_for_a_server_that_is_away(make_server, engine, settings_for, unused_port):
    from drover.host.agent import run_agent

    absent = WireServer(port=unused_port)
    task = asyncio.create_task(run_agent(settings_for(absent)))
    await asyncio.sleep(0.3)
    assert not task.done()
    server = await make_server(port=unused_port)
    async with asyncio.timeout(PATIENCE):
        await server.connected.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_second_agent_on_the_same_engine_is_refused(agent, settings_for):
    from drover.host.agent import run_agent

    with pytest.raises(IdentityError, match=r"Another agent .* already serves this Docker engine"):
        await run_agent(settings_for(agent))


async def test_a_revoked_registration_url_is_an_error_with_advice(server, engine, settings_for):
    from drover.host.agent import run_agent

    settings = settings_for(server, registration_url=server.base + "/scripts/REVOKED:1:x")
    with pytest.raises(RegistrationError, match="Get a new registration command"):
        await run_agent(settings)


async def test_refused_keys_do_not_end_the_agent(server, engine, settings_for, run_for):
    async with run_for(settings_for(server), server) as task:
        key, server.access_key = server.access_key, "OTHER"
        await server.sockets[-1].close()
        await asyncio.sleep(0.8)
        assert not task.done()
        server.access_key = key
        async with asyncio.timeout(PATIENCE):
            await server.connected.wait()


PROGRAM = (
    "import asyncio\nfrom drover.host.agent import read_settings, run_agent\nasyncio.run(run_agent(read_settings()))\n"
)


@pytest.fixture
async def process(server, engine, docker_engine, tmp_path):
    """The agent as a process of its own, subscribed to the server."""
    environment = {
        **os.environ,
        "DROVER_REGISTRATION_URL": server.registration_url,
        "CATTLE_STATE_DIR": str(tmp_path / "state"),
        "DOCKER_HOST": docker_engine.url,
        "CATTLE_DETECT_CLOUD_PROVIDER": "false",
    }
    started = subprocess.Popen(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM], env=environment, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await server.connected.wait()
        yield started
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


async def test_sigterm_ends_the_process_cleanly(server, process):
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0
    errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert "agentsecret" not in errors


async def test_what_runs_at_sigterm_is_finished_and_answered(server, process, new_instance):
    data = new_instance("stubborn", fields={"command": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]})
    await server.call("compute.instance.activate", "instanceHostMap", "1ihm1", data)
    stop = data | {"processData": {"timeout": 1}}
    request = await server.send("compute.instance.deactivate", "instanceHostMap", "1ihm1", stop)
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    reply = await server.reply(request)
    assert reply["data"]["instanceHostMap"]["instance"]["+data"]["dockerInspect"]["State"]["Running"] is False
    assert await asyncio.to_thread(process.wait, PATIENCE) == 0


async def test_a_successor_finishes_what_a_killed_agent_began(server, process, settings_for, run_for, new_instance):
    data = new_instance("orphan")
    request = await server.send("compute.instance.activate", "instanceHostMap", "1ihm1", data)
    await asyncio.sleep(0.05)
    process.kill()
    await asyncio.to_thread(process.wait, PATIENCE)
    server.connected.clear()
    async with run_for(settings_for(server), server):
        await server.send("compute.instance.activate", "instanceHostMap", "1ihm1", data, id=request)
        reply = await server.reply(request)
        assert reply["data"]["instanceHostMap"]["instance"]["+data"]["dockerInspect"]["State"]["Running"]


async def test_config_update_refreshes_the_key_and_marks_items(agent):
    items = {"configUrl": None, "items": [{"name": "host-config"}, {"name": "../register"}]}
    reply = await agent.call("config.update", "agent", "1a1", items)
    assert reply["data"] == {}
    assert agent.applied_items == ["host-config=latest"]


async def test_a_flood_of_frames_that_are_no_events_does_no_harm(agent):
    socket: web.WebSocketResponse = agent.sockets[-1]
    for frame in ("", "  ", "not json", "[]", '{"id":1}', json.dumps({"name": "unknown.event", "id": "1"})):
        await socket.send_str(frame)
    assert (await agent.call("ping", "agent", "1a1", PING))["data"]["resources"]
