"""The lab's hosts as Drover sees them: agents, the server and cables come and go, hosts stay the same."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest

from lab import Lab
from lab.programs import environment_url

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]


async def _hosts(lab: Lab) -> dict[str, dict[str, Any]]:
    """The environment's hosts by name."""
    url = f"{await environment_url(lab.server_url)}/hosts"
    async with aiohttp.request("GET", url) as response:
        assert response.status == 200
        return {host["hostname"]: host for host in (await response.json())["data"]}


async def _set(lab: Lab, name: str, value: str) -> None:
    url = f"{lab.server_url}/v2-beta/settings/{name}"
    async with aiohttp.request("PUT", url, json={"value": value}) as response:
        assert response.status == 200, await response.text()


@pytest.fixture
async def impatient(lab: Lab) -> AsyncIterator[None]:
    """Pings that are given up after 2 seconds, and agents after three of them."""
    await _set(lab, "agent.ping.timeout.seconds", "2")
    await _set(lab, "agent.ping.reconnect.after.failed.count", "3")
    yield
    await _set(lab, "agent.ping.timeout.seconds", "15")
    await _set(lab, "agent.ping.reconnect.after.failed.count", "6")


async def _until(lab: Lab, host: str, states: set[str], seconds: float = 60) -> None:
    """Wait until the server shows the host's agent in one of these states."""
    seen = None
    with anyio.move_on_after(seconds):
        while True:
            shown = (await _hosts(lab))[host]
            seen = shown.get("agentState") or shown["state"]
            if seen in states:
                return
            await anyio.sleep(0.2)
    pytest.fail(f"{host} is {seen!r}, not one of {sorted(states)}, after {seconds:g} s")


async def test_every_host_is_active_under_its_own_address(lab: Lab) -> None:
    hosts = await _hosts(lab)
    assert {name: host["agentIpAddress"] for name, host in hosts.items()} == {
        host.name: host.address for host in lab.hosts
    }
    assert {host["state"] for host in hosts.values()} == {"active"}


async def test_a_killed_agent_comes_back_as_the_same_host(lab: Lab) -> None:
    before = await _hosts(lab)
    await lab.hosts[0].kill_agent()
    await lab.hosts[0].start_agent()
    after = await _hosts(lab)
    assert {name: host["id"] for name, host in after.items()} == {name: host["id"] for name, host in before.items()}


async def test_an_agent_with_running_containers_comes_back(lab: Lab) -> None:
    """Registration must not take the mounts of the host's containers for its own container's."""
    host = lab.hosts[1]
    async with await host.docker() as docker:
        await docker.images.pull(lab.image("lab/shell"))
        config: dict[str, Any] = {"Image": lab.image("lab/shell"), "Cmd": ["sleep", "600"]}
        container = await docker.containers.run(config, name="bystander")
        try:
            await host.stop_agent()
            await host.start_agent()
            names = [name for each in await docker.containers.list() for name in each["Names"]]
            assert names == ["/bystander"]
        finally:
            await container.delete(force=True)


async def test_agents_find_a_restarted_server(lab: Lab) -> None:
    before = await _hosts(lab)
    await lab.kill_server()
    await lab.start_server()
    for host in lab.hosts:
        await _until(lab, host.name, {"active"})
    assert (await _hosts(lab)).keys() == before.keys()


async def test_a_host_behind_a_cut_cable_is_noticed_and_heals(lab: Lab, impatient: None) -> None:
    host = lab.hosts[2]
    await host.cut_network()
    try:
        await _until(lab, host.name, {"disconnected", "reconnecting", "disconnecting"})
    finally:
        await host.restore_network()
    await _until(lab, host.name, {"active"})


async def test_a_host_that_lost_its_power_resumes_as_the_same_one(lab: Lab) -> None:
    host = lab.hosts[0]
    before = (await _hosts(lab))[host.name]["id"]
    await host.power_off()
    await host.power_on()
    await host.start_agent()
    await _until(lab, host.name, {"active"})
    assert (await _hosts(lab))[host.name]["id"] == before
