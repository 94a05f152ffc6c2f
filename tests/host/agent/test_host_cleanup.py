"""A host that was removed takes back what its programs did, through the whole agent, against a real engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drover.host.agent.wait_program import WaitProgram
from tests.host.agent.conftest import IMAGE, PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


def request_of(*programs: dict[str, Any], volumes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"hostCleanup": {"programs": [each["instanceHostMap"] for each in programs], "volumes": list(volumes)}}


@pytest.fixture
def new_program(new_instance, tmp_path: Path):
    """A program with the folder `/host` of this machine, its network and its processes."""

    def make(name: str, script: str, **fields: Any) -> dict[str, Any]:
        given = {
            "command": ["sh", "-c", script],
            "dataVolumes": [f"{tmp_path}:/host", *fields.pop("dataVolumes", ())],
            "pidMode": "host",
            "restartPolicy": {"name": "always"},
            "labels": {"io.drover.host.cleanup": "x"},
        }
        nics = [{"deviceNumber": 0, "network": {"kind": "dockerHost", "name": "host"}, "ipAddresses": []}]
        return new_instance(name, nics=nics, fields=given | fields)

    return make


async def test_programs_run_once_and_leave_nothing(agent, engine, docker_engine, new_program, tmp_path: Path):
    docker_engine.docker("volume", "create", "made-for-it")
    first = new_program("first", "ip link > /host/links; echo x >> /host/runs", dataVolumes=["made-for-it:/v"])
    second = new_program("second", "test -e /host/runs && echo y >> /host/runs")
    data = request_of(first, second, volumes=("made-for-it", "never-there"))
    reply = await agent.call("host.cleanup", "host", "1h1", data)
    assert reply.get("transitioning") is None, reply
    assert (tmp_path / "runs").read_text().split() == ["x", "y"], "in their order"
    assert docker_engine.bridge in (tmp_path / "links").read_text(), "in the network of the host"
    assert await engine.list_containers() == []
    assert docker_engine.docker("volume", "ls", "--quiet", "--filter", "name=made-for-it") == ""
    again = await agent.call("host.cleanup", "host", "1h1", data)
    assert again.get("transitioning") is None, again


async def test_what_the_agent_made_for_the_environment_goes(agent, engine, docker_engine, tmp_path: Path):
    program = tmp_path / "r"
    program.write_text("#!/bin/sh\n")
    await WaitProgram(engine, program).ensure()
    assert "rancher-cni" in docker_engine.docker("volume", "ls", "--quiet").split()
    reply = await agent.call("host.cleanup", "host", "1h1", request_of())
    assert reply.get("transitioning") is None, reply
    assert "rancher-cni" not in docker_engine.docker("volume", "ls", "--quiet").split()
    assert docker_engine.docker("images", "--quiet", "drover/wait") == ""


async def test_a_failure_is_told_after_everything_else_was_tried(agent, engine, docker_engine, new_program, tmp_path):
    docker_engine.docker("volume", "create", "used")
    stranger = docker_engine.docker("run", "-d", "-v", "used:/v", IMAGE)
    bad = new_program("bad", "echo no such chain >&2; exit 3")
    good = new_program("good", "echo z > /host/good")
    reply = await agent.call("host.cleanup", "host", "1h1", request_of(bad, good, volumes=("used",)))
    assert reply["transitioning"] == "error"
    assert "bad ended with status 3" in reply["transitioningMessage"]
    assert "no such chain" in reply["transitioningMessage"]
    assert "volume is in use" in reply["transitioningMessage"]
    assert (tmp_path / "good").exists()
    assert [row["Id"] for row in await engine.list_containers()] == [stranger]


async def test_what_an_agent_that_died_left_behind_is_no_obstacle(agent, engine, docker_engine, new_program, tmp_path):
    program = new_program("again", "echo x >> /host/runs")
    uuid = program["instanceHostMap"]["instance"]["uuid"]
    docker_engine.docker("run", "-d", "--name", f"r-again-{uuid.split('-')[0]}", IMAGE)
    reply = await agent.call("host.cleanup", "host", "1h1", request_of(program))
    assert reply.get("transitioning") is None, reply
    assert (tmp_path / "runs").read_text() == "x\n"
    assert await engine.list_containers() == []


async def test_the_server_hears_nothing_of_these_containers(agent, engine, new_program, tmp_path: Path):
    """It would take them for containers that somebody started by hand."""
    program = new_program("slow", "echo x > /host/begun; while [ ! -e /host/go ]; do sleep 0.05; done")
    request = await agent.send("host.cleanup", "host", "1h1", request_of(program))
    async with asyncio.timeout(PATIENCE):
        while not (tmp_path / "begun").exists():
            await asyncio.sleep(0.05)
    filters = {"label": ["io.drover.agent.task=slow"]}
    (own,) = [row["Id"] for row in await engine.list_containers(filters=filters)]
    pong = await agent.call("ping", "agent", "1a1", {"options": {"instances": True}})
    assert pong["data"]["options"]["instances"]
    assert [each for each in pong["data"]["resources"] if each["type"] == "instance"] == []
    (tmp_path / "go").touch()
    reply = await agent.reply(request)
    while reply.get("transitioning") == "yes":
        reply = await agent.reply(request)
    assert reply.get("transitioning") is None, reply
    # A container of somebody else's, whose events come after those that must not come.
    await engine.create_container("stranger", {"Image": IMAGE})
    await engine.start_container("stranger")
    stranger = (await engine.inspect_container("stranger"))["Id"]
    async with asyncio.timeout(PATIENCE):
        while stranger not in {event["externalId"] for _, event in agent.container_events}:
            await asyncio.sleep(0.05)
    assert own not in {event["externalId"] for _, event in agent.container_events}
