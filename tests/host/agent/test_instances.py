"""Containers through the whole agent, against a real engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.host.agent.conftest import PATIENCE

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


def instance_of(data: dict[str, Any]) -> dict[str, Any]:
    return data["instanceHostMap"]["instance"]


def report_of(reply: dict[str, Any]) -> dict[str, Any]:
    assert reply.get("transitioning") is None, reply.get("transitioningMessage")
    return reply["data"]["instanceHostMap"]["instance"]


async def test_starts_stops_and_removes_a_container(agent, engine, new_instance):
    data = new_instance("web", fields={"environment": {"A": 1}, "labels": {"own": "label"}})
    uuid = instance_of(data)["uuid"]

    started = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm1", data))
    container = started["externalId"]
    inspect = await engine.inspect_container(container)
    assert inspect["State"]["Running"]
    assert inspect["Name"] == f"/r-web-{uuid.split('-')[0]}"
    assert inspect["Config"]["Labels"]["io.rancher.container.uuid"] == uuid
    assert inspect["Config"]["Labels"]["own"] == "label"
    assert "A=1" in inspect["Config"]["Env"]
    assert inspect["HostConfig"]["CpuShares"] == 0
    assert started["+data"]["+fields"]["dockerHostIp"] == "10.9.8.7"
    assert started["+data"]["+fields"]["dockerIp"] == inspect["NetworkSettings"]["IPAddress"] != ""
    assert started["+data"]["dockerInspect"]["Id"] == container
    listed = next(row for row in await engine.list_containers() if row["Id"] == container)
    for key in ("Id", "Names", "Image", "ImageID", "Command", "Created", "Ports", "Labels", "State", "Mounts"):
        assert started["+data"]["dockerContainer"][key] == listed[key], key

    stop = data | {"processData": {"timeout": 0}}
    stopped = report_of(await agent.call("compute.instance.deactivate", "instanceHostMap", "1ihm1", stop))
    assert stopped["+data"]["dockerInspect"]["State"]["Running"] is False

    again = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm1", data))
    assert again["externalId"] == container, "a stopped container is started, not made anew"

    removed = await agent.call("compute.instance.remove", "instanceHostMap", "1ihm1", data)
    assert report_of(removed)["+data"]["dockerContainer"] is None
    assert not [row for row in await engine.list_containers() if row["Id"] == container]
    assert (await agent.call("compute.instance.remove", "instanceHostMap", "1ihm1", data)).get("data") == {}


async def test_activate_of_a_running_container_only_reports_it(agent, new_instance):
    data = new_instance("twice")
    first = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm2", data))
    second = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm2", data))
    assert second["externalId"] == first["externalId"]
    assert (
        second["+data"]["dockerInspect"]["State"]["StartedAt"] == first["+data"]["dockerInspect"]["State"]["StartedAt"]
    )


async def test_the_happy_path_costs_three_calls(agent, new_instance, monkeypatch):
    from drover.host.agent.engine import Engine

    calls: list[str] = []
    original = Engine._bytes

    async def recording(self: Engine, method: str, path: str, **rest: Any) -> bytes:
        calls.append(f"{method} {path.split('/')[-1]}")
        return await original(self, method, path, **rest)

    monkeypatch.setattr(Engine, "_bytes", recording)
    report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm3", new_instance("cheap")))
    assert calls == ["POST create", "POST start", "GET json"]


async def test_a_container_that_does_not_start_is_removed_again(agent, engine, new_instance):
    data = new_instance("broken", fields={"command": ["/does/not/exist"]})
    reply = await agent.call("compute.instance.activate", "instanceHostMap", "1ihm4", data)
    assert reply["transitioning"] == "error"
    assert "/does/not/exist" in reply["transitioningMessage"]
    assert "data" not in reply
    assert await engine.list_containers() == []


async def test_a_container_made_before_a_crash_is_adopted(agent, engine, new_instance, docker_engine):
    """The create went through, the agent died, and its successor has not heard of it: a name conflict."""
    data = new_instance("crash")
    uuid = instance_of(data)["uuid"]
    name = f"r-crash-{uuid.split('-')[0]}"
    image = instance_of(data)["data"]["fields"]["imageUuid"].removeprefix("docker:")
    # Behind the index' back as far as possible: the request follows at once.
    made = docker_engine.docker("create", "--name", name, "-l", f"io.rancher.container.uuid={uuid}", image)
    report = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm5", data))
    assert report["externalId"] == made


async def test_a_name_taken_by_a_stranger_is_an_error(agent, new_instance, docker_engine):
    data = new_instance("taken")
    uuid = instance_of(data)["uuid"]
    image = instance_of(data)["data"]["fields"]["imageUuid"].removeprefix("docker:")
    docker_engine.docker("create", "--name", f"r-taken-{uuid.split('-')[0]}", image)
    reply = await agent.call("compute.instance.activate", "instanceHostMap", "1ihm6", data)
    assert reply["transitioning"] == "error"
    assert "already in use" in reply["transitioningMessage"]


async def test_a_missing_image_is_pulled_with_progress_and_a_clear_error(agent, new_instance):
    data = new_instance("pull", fields={"imageUuid": "docker:127.0.0.1:1/none:1"})
    request = await agent.send("compute.instance.activate", "instanceHostMap", "1ihm7", data)
    reply = await agent.reply(request)
    while reply.get("transitioning") == "yes":
        reply = await agent.reply(request)
    assert reply["transitioning"] == "error"
    assert reply["transitioningMessage"].startswith("Image [127.0.0.1:1/none:1] failed to pull: ")


async def test_volumes_and_links_to_other_containers(agent, engine, new_instance):
    source = new_instance("data", fields={"dataVolumes": ["/shared"]})
    first = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm8", source))
    user = new_instance("user", dataVolumesFromContainers=[{"uuid": instance_of(source)["uuid"]}])
    second = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm9", user))
    inspect = await engine.inspect_container(second["externalId"])
    assert inspect["HostConfig"]["VolumesFrom"] == [first["externalId"]]
    assert second["+data"]["dockerMounts"][0]["Destination"] == "/shared"


async def test_ports_are_reported_as_docker_publishes_them(agent, new_instance):
    data = new_instance(
        "ports",
        ports=[
            {
                "privatePort": 80,
                "publicPort": 18080,
                "protocol": "tcp",
                "data": {"fields": {"bindAddress": "127.0.0.1"}},
            },
            {"privatePort": 53, "publicPort": None, "protocol": "udp"},
        ],
    )
    report = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm10", data))
    ports = report["+data"]["+fields"]["dockerPorts"]
    assert "127.0.0.1:18080:80/tcp" in ports
    assert any(port.startswith("0.0.0.0:") and port.endswith(":53/udp") for port in ports)


async def test_requests_for_one_container_run_in_order(agent, engine, new_instance):
    data = new_instance("ordered")
    start = await agent.send("compute.instance.activate", "instanceHostMap", "1ihm11", data)
    stop = await agent.send(
        "compute.instance.deactivate", "instanceHostMap", "1ihm11", data | {"processData": {"timeout": 0}}
    )
    report_of(await agent.reply(start))
    assert report_of(await agent.reply(stop))["+data"]["dockerInspect"]["State"]["Running"] is False


async def test_a_repeated_request_gets_the_same_reply_and_one_container(agent, engine, new_instance):
    data = new_instance("repeat")
    request = await agent.send("compute.instance.activate", "instanceHostMap", "1ihm12", data)
    await agent.send("compute.instance.activate", "instanceHostMap", "1ihm12", data, id=request)
    replies = [await agent.reply(request)]
    while replies[-1].get("transitioning") == "yes":
        replies.append(await agent.reply(request))
    await agent.send("compute.instance.activate", "instanceHostMap", "1ihm12", data, id=request)
    repeated = await agent.reply(request)
    while repeated.get("transitioning") == "yes":
        repeated = await agent.reply(request)
    assert repeated["data"] == replies[-1]["data"]
    assert repeated["id"] == replies[-1]["id"]
    assert len(await engine.list_containers()) == 1


async def test_force_stop_and_inspect(agent, engine, new_instance):
    report = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm13", new_instance("old")))
    container = report["externalId"]
    await agent.send(
        "compute.instance.force.stop", None, None, {"instanceForceStop": {"kind": "docker", "id": container}}
    )
    deadline = time.monotonic() + PATIENCE
    while (await engine.inspect_container(container))["State"]["Running"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    found = await agent.call(
        "compute.instance.inspect", "instanceInspect", None, {"instanceInspect": {"kind": "docker", "id": container}}
    )
    assert found["data"]["instanceInspect"]["Id"] == container
    missing = await agent.call(
        "compute.instance.inspect", "instanceInspect", None, {"instanceInspect": {"kind": "docker", "name": "/nobody"}}
    )
    assert missing["data"]["instanceInspect"] == {}


async def test_a_managed_network_without_manager_is_a_clear_error(server, engine, settings_for, run_for, new_instance):
    data = new_instance("cni", nics=[{"deviceNumber": 0, "network": {"kind": "cni", "name": "ipsec"}}])
    async with run_for(settings_for(server, cni_wait=0.2), server):
        reply = await server.call("compute.instance.activate", "instanceHostMap", "1ihm14", data)
    assert reply["transitioning"] == "error"
    assert "No network manager runs on this host" in reply["transitioningMessage"]
    assert "ipsec" in reply["transitioningMessage"]
    assert await engine.list_containers() == []


async def test_a_native_container_is_reported_without_being_touched(agent, engine, new_instance, docker_engine):
    image = instance_of(new_instance("x"))["data"]["fields"]["imageUuid"].removeprefix("docker:")
    container = docker_engine.docker("run", "-d", "--name", "native", image)
    data = new_instance("native", externalId=container) | {"processData": {"containerNoOpEvent": True}}
    report = report_of(await agent.call("compute.instance.activate", "instanceHostMap", "1ihm15", data))
    assert report["externalId"] == container


async def test_an_unreadable_request_is_answered(agent):
    reply = await agent.call(
        "compute.instance.activate", "instanceHostMap", "1ihm16", {"instanceHostMap": {"instance": []}}
    )
    assert reply["transitioning"] == "error"
    assert "instanceHostMap.instance" in reply["transitioningMessage"]
