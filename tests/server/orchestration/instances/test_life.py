"""The life of a container on a simulated host."""

from __future__ import annotations

import pytest

from tests.server.orchestration.conftest import Platform, next_event

pytestmark = pytest.mark.anyio


async def test_a_container_gets_a_host_an_address_and_runs(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start(name="web", labels={"a": "b"})
    assert container["hostId"] == host.id
    assert container["primaryIpAddress"].startswith("10.42.")
    assert container["primaryMacAddress"].startswith("02:")
    assert container["externalId"]
    assert container["startCount"] == 1
    assert container["firstRunning"]
    assert container["labels"]["io.rancher.environment.uuid"] == platform.environment.uuid
    addresses = await platform.store.find_by("ipAddress", instanceId=container.id)
    assert [each["address"] for each in addresses] == [container["primaryIpAddress"]]


async def test_a_stopped_container_keeps_its_place_and_address(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.start()
    await platform.schedule("instance.stop", container, timeout=0)
    stopped = await platform.until("instance", container.id, "stopped")
    assert stopped["hostId"] == container["hostId"]
    await platform.schedule("instance.start", stopped)
    again = await platform.until("instance", container.id, "running")
    assert again["primaryIpAddress"] == container["primaryIpAddress"]
    assert again["externalId"] == container["externalId"]
    assert again["startCount"] == 2


async def test_restart_comes_back_running(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.start()
    await platform.schedule("instance.restart", container)
    await platform.eventually(lambda: _start_count(platform, container.id, 2))


async def _start_count(platform: Platform, container_id: int, count: int) -> bool:
    row = await platform.store.get("instance", container_id)
    return row is not None and row.state == "running" and row["startCount"] == count


async def test_who_shares_the_network_of_one_that_died_is_really_stopped(platform: Platform) -> None:
    """The engine lets it run on, in a network namespace that leads nowhere."""
    host = await platform.create_host()
    holder = await platform.start()
    follower = await platform.start(networkContainerId=holder.id, networkMode="container")
    subscription = platform.context.bus.subscribe([f"compute.instance.deactivate;agent={host['agentId']}"])
    await platform.schedule("instance.stop", holder, containerNoOpEvent=True)
    await platform.until("instance", follower.id, "stopped")
    event = await next_event(subscription)
    subscription.close()
    assert event.data["instanceHostMap"]["instance"]["uuid"] == follower.uuid
    assert event.data["processData"]["containerNoOpEvent"] is False


async def test_remove_gives_everything_back(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start(ports=["8080:80/tcp"])
    await platform.schedule("instance.stop", container, remove=True)
    removed = await platform.until("instance", container.id, "removed")
    assert removed["removed"]
    assert removed["removeTime"]
    assert await platform.store.find_by("ipAddress", instanceId=container.id, removed=None) == []
    assert platform.hosting.usage.on_host(host.id) == []
    await platform.start(ports=["8080:80/tcp"])


async def test_a_container_that_is_not_to_start_has_no_host(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.plan(startOnCreate=False)
    stopped = await platform.until("instance", container.id, "stopped")
    assert stopped["hostId"] is None
    await platform.schedule("instance.start", stopped)
    running = await platform.until("instance", container.id, "running")
    assert running["hostId"] is not None


async def test_a_port_in_use_is_named(platform: Platform) -> None:
    await platform.create_host()
    await platform.start(name="first", ports=["80:80/tcp"])
    second = await platform.plan(name="second", ports=["80:8000/tcp"])
    failed = await platform.until("instance", second.id, "error")
    assert failed["transitioning"] == "error"
    message = failed["transitioningMessage"]
    assert message.startswith("Allocation failed: No healthy hosts meet the resource constraints: [")
    assert "port 80/tcp used by first" in message


async def test_a_refusing_agent_is_asked_five_times(platform: Platform) -> None:
    await platform.create_host()
    container = await platform.plan(name="compute.instance.activate::fail")
    failed = await platform.until("instance", container.id, "error")
    assert failed["transitioningMessage"] == "Failing [compute.instance.activate]"
