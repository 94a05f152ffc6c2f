"""What happens behind the agent's back reaches the server, at once and once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from drover.host.agent.container_events import Expectations
from drover.host.agent.engine import Engine
from drover.host.agent.watcher import ContainerChange
from tests.host.agent.conftest import IMAGE, PATIENCE

pytestmark = pytest.mark.anyio


async def event_for(
    server: Any, container: str, status: str, *, timeout: float = PATIENCE
) -> tuple[float, dict[str, Any]]:
    async with asyncio.timeout(timeout):
        while True:
            for moment, event in server.container_events:
                if event["externalId"] == container and event["externalStatus"] == status:
                    return moment, event
            await asyncio.sleep(0.005)


async def started(server: Any, data: dict[str, Any], resource: str = "1ihm1") -> str:
    reply = await server.call("compute.instance.activate", "instanceHostMap", resource, data)
    return reply["data"]["instanceHostMap"]["instance"]["externalId"]


@pytest.mark.docker
async def test_a_killed_container_is_reported(agent, engine, new_instance):
    """Nobody asks the agent for its containers here, so the report can only come of Docker's event."""
    delays = [
        await report_delay(agent, engine, new_instance(f"victim-{number}"), f"1ihm{number}") for number in range(3)
    ]
    print(f"from Docker's event to the report: {[f'{1000 * each:.0f} ms' for each in delays]}")


async def report_delay(agent: Any, engine: Engine, data: dict[str, Any], resource: str) -> float:
    """Seconds from Docker's event to the server's knowledge, for a container killed by somebody else."""
    container = await started(agent, data, resource)
    stream = engine.events({"filters": '{"event":["die"],"type":["container"]}'})

    async def docker_tells() -> float:
        await anext(stream)
        return time.monotonic()

    told = asyncio.create_task(docker_tells())
    await asyncio.sleep(0.1)
    await engine.kill_container(container)
    docker_told = await told
    moment, event = await event_for(agent, container, "die")
    await stream.aclose()
    name = data["instanceHostMap"]["instance"]["name"]
    assert event["dockerInspect"]["Config"]["Labels"]["io.rancher.container.name"] == name
    assert event["reportedHostUuid"]
    return moment - docker_told


@pytest.mark.docker
async def test_what_the_server_asked_for_is_not_reported(agent, engine, new_instance):
    data = new_instance("quiet")
    container = await started(agent, data)
    stop = data | {"processData": {"timeout": 0}}
    await agent.call("compute.instance.deactivate", "instanceHostMap", "1ihm1", stop)
    await started(agent, data)
    await agent.call("compute.instance.remove", "instanceHostMap", "1ihm1", data)
    other = await started(agent, new_instance("other"), "1ihm2")
    await engine.remove_container(other, force=True)
    # Events are posted in order, so everything about the first container would have come before this one.
    await event_for(agent, other, "destroy")
    assert [event for _, event in agent.container_events if event["externalId"] == container] == []


@pytest.mark.docker
async def test_a_crash_after_a_requested_start_is_reported(agent, new_instance):
    container = await started(agent, new_instance("crash", fields={"command": ["sleep", "0.3"]}))
    await event_for(agent, container, "die")


@pytest.mark.docker
async def test_native_containers_are_reported_with_their_inspect(agent, docker_engine):
    container = docker_engine.docker("run", "-d", "--name", "foreign", "-e", "A=1", IMAGE)
    _, event = await event_for(agent, container, "start")
    assert event["dockerInspect"]["Name"] == "/foreign"
    assert event["externalFrom"] == IMAGE
    docker_engine.docker("rm", "-f", container)
    await event_for(agent, container, "destroy")


@pytest.mark.docker
async def test_the_ping_lists_every_container(agent, new_instance, docker_engine):
    data = new_instance("listed")
    container = await started(agent, data)
    docker_engine.docker("create", "--name", "never-started", IMAGE)
    ping = {"options": {"instances": True, "resources": True, "stats": True}, "resources": []}
    reply = (await agent.call("ping", "agent", "1a1", ping))["data"]
    assert reply["options"] == {"instances": True}
    elements = {element["type"]: element for element in reply["resources"]}
    assert set(elements) == {"physicalHost", "host", "storagePool", "ipAddress", "hostUuid", "instance"}
    instances = [element for element in reply["resources"] if element["type"] == "instance"]
    assert [(one["uuid"], one["state"], one["dockerId"]) for one in instances] == [
        (data["instanceHostMap"]["instance"]["uuid"], "running", container)
    ]
    host = elements["host"]
    assert host["hostname"] == "host-under-test"
    assert (
        host["dockerEngineId"]
        == host["info"]["dockerEngineId"]
        == docker_engine.docker("info", "-f", "{{.ID}}@{{.DockerRootDir}}")
    )
    assert host["memory"] > 2**28
    assert host["milliCpu"] == host["info"]["cpuInfo"]["count"] * 1000
    assert host["labels"]["io.rancher.host.docker_version"] == "20.10"
    assert all(isinstance(load, str) for load in host["info"]["cpuInfo"]["loadAvg"])
    assert host["info"]["hostKey"]["data"].startswith("-----BEGIN RSA PUBLIC KEY-----\n")
    assert elements["ipAddress"]["addresss"] == "10.9.8.7"
    assert elements["storagePool"]["uuid"] == f"{host['uuid']}-pool"


@pytest.mark.docker
async def test_a_ping_without_a_place_to_answer_is_not_answered(agent):
    request = await agent.send("ping", "agent", "1a1", {"options": {}}, replyTo=None)
    await agent.call("ping", "agent", "1a1", {})
    assert agent.replies[request].empty() if request in agent.replies else True


def change(action: str, container: str = "c1") -> ContainerChange:
    return ContainerChange(action=action, id=container, image="i", time=1, labels={})


async def test_an_expectation_is_good_for_one_event_and_for_a_while():
    now = 0.0
    expectations = Expectations(lambda: now)
    expectations.expect("c1", "die", "stop")
    assert expectations.meets(change("die"))
    assert not expectations.meets(change("die")), "the second death is news"
    now = 60.0
    assert not expectations.meets(change("stop"))
    expectations.expect("c1", "start")
    expectations.withdraw("c1", "start")
    assert not expectations.meets(change("start"))


async def test_a_second_crash_after_a_requested_start_is_news():
    """A crash, a start that the server asked for (and so is not reported), and another crash."""
    from drover.client.events import ContainerEvent
    from drover.host.agent.container_events import ContainerEventReporter

    posted: list[str] = []

    async def post(event: ContainerEvent) -> None:
        posted.append(event.external_status)

    expectations = Expectations()
    reporter = ContainerEventReporter(None, post, host_uuid="h", expectations=expectations)  # type: ignore[arg-type]
    running = asyncio.create_task(reporter.run())
    async with asyncio.timeout(PATIENCE):
        for number in (1, 2):
            for action in ("die", "stop"):
                reporter.offer(ContainerChange(action, "c", "i", 1, {"io.rancher.container.uuid": "u"}))
            while len(posted) < number:
                await asyncio.sleep(0)
            expectations.expect("c", "start")
            reporter.offer(ContainerChange("start", "c", "i", 1, {"io.rancher.container.uuid": "u"}))
    assert posted == ["die", "die"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_restart_loop_leaves_one_event_and_keeps_the_newest():
    from drover.client.events import ContainerEvent
    from drover.host.agent.container_events import ContainerEventReporter

    posted: list[tuple[str, str]] = []
    gate = asyncio.Event()

    async def post(event: ContainerEvent) -> None:
        posted.append((event.external_id, event.external_status))
        await gate.wait()

    reporter = ContainerEventReporter(None, post, host_uuid="h", expectations=Expectations())  # type: ignore[arg-type]
    known = {"io.rancher.container.uuid": "u"}
    running = asyncio.create_task(reporter.run())
    reporter.offer(ContainerChange("start", "loop", "i", 1, known))
    async with asyncio.timeout(PATIENCE):
        while not posted:
            await asyncio.sleep(0)
        for action in ("die", "start", "die", "start", "die"):
            reporter.offer(ContainerChange(action, "loop", "i", 1, known))
            await asyncio.sleep(0)
        assert posted == [("loop", "start")], "one request at a time for one container"
        gate.set()
        while len(posted) < 2:
            await asyncio.sleep(0)
    assert posted == [("loop", "start"), ("loop", "die")]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
