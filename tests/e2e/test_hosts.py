"""Hosts that leave for good, for a while, or come twice."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.engine import host_environment
from lab.machine import on_host
from lab.programs import drover_command, registration_url
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import eventually, stays

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

# A lost agent is noticed after 2 to 3 s and given up after another 5 s.
IMPATIENT = {
    "agent.ping.timeout.seconds": "1",
    "task.agent.ping.schedule": "1",
    "agent.ping.reconnect.after.failed.count": "2",
    "agent.disconnect.after.seconds": "5",
}


@pytest.fixture
async def impatient(cluster: Cluster) -> AsyncIterator[Cluster]:
    """A server that notices lost hosts within seconds."""
    settings = cluster.api.unscoped()
    changed = [(await settings.get("setting", name), value) for name, value in IMPATIENT.items()]
    for setting, value in changed:
        await settings.update(setting, {"value": value})
    try:
        yield cluster
    finally:
        for setting, _ in changed:
            await settings.update(setting, {"value": setting.text("value")})


async def test_a_host_that_is_cut_off_keeps_its_containers(impatient: Cluster) -> None:
    cluster = impatient
    await cluster.up("island", {"web": cluster.web(), "all": cluster.shell()}, {"web": 6})
    before = await cluster.until_agreed("island")
    host = cluster.host("host3")

    async def agent_state() -> str:
        row = await cluster.host_row("host3")
        return row.text("agentState") or row.state

    assert await agent_state() == "active"
    await host.cut_network()
    try:
        await eventually(agent_state, lambda found: found == "reconnecting", what="the host is missed")
        await eventually(agent_state, lambda found: found == "disconnected", what="the host is given up")
        assert "disconnected" in (await cluster.drover("hosts", "ls")).out
        # Without a health check nobody knows whether the containers there are dead: nothing is moved.
        await stays(
            lambda: cluster.on_engines("island"),
            lambda found: {each.identity for each in found} == {each.identity for each in before},
            what="every container stays where it is",
            seconds=8,
        )
    finally:
        await host.restore_network()
    await eventually(agent_state, lambda found: found == "active", what="the host is active again")
    after = await cluster.until_agreed("island")
    assert {each.identity for each in after} == {each.identity for each in before}


async def test_a_container_that_died_behind_the_cut_is_replaced_after_it(impatient: Cluster) -> None:
    cluster = impatient
    await cluster.up("shore", {"web": cluster.web()}, {"web": 3})
    victim = next(each for each in await cluster.until_running("shore/web", 3) if each.host == "host3")
    host = cluster.host("host3")
    await host.cut_network()
    try:
        await cluster.engines.kill(victim)
        await asyncio.sleep(1)
    finally:
        await host.restore_network()
    await cluster.until_running("shore/web", 3)
    assert sorted(each.index for each in await cluster.until_agreed("shore")) == [1, 2, 3]


async def test_the_containers_of_a_removed_host_move(cluster: Cluster) -> None:
    await cluster.up("moving", {"web": cluster.web()}, {"web": 6})
    before = await cluster.until_running("moving/web", 6)
    assert Counter(each.host for each in before)["host3"] == 2
    row = await cluster.host_row("host3")
    try:
        await cluster.drover("stop", "--type", "host", "-w", row.id)
        assert (await cluster.host_row("host3")).state == "inactive"
        assert {each.identity for each in await cluster.until_agreed("moving")} == {each.identity for each in before}
        await cluster.drover("rm", "--type", "host", "-y", "-w", row.id, timeout=180)
        after = await cluster.until_running("moving/web", 6)
        assert {each.host for each in after} == {"host1", "host2"}
        assert [each.index for each in after] == [1, 2, 3, 4, 5, 6]
        stayed = {each.identity for each in before if each.host != "host3"}
        assert stayed <= {each.identity for each in after}
        await cluster.until_agreed("moving")
        assert row.id not in (await cluster.drover("hosts", "ls")).out.split()
        left = [
            pool
            for pool in await cluster.api.list("storagePool", {"removed_null": 1})
            if row.id in pool.get("hostIds", [])
        ]
        assert not left, left
    finally:
        await cluster.host("host3").kill_agent()
        await cluster.host("host3").start_agent()
    assert (await cluster.host_row("host3")).id != row.id, "a host that was removed comes back as a new one"


async def test_a_global_service_follows_the_hosts(cluster: Cluster) -> None:
    await cluster.up("wide", {"all": cluster.shell(labels={"io.rancher.scheduler.global": "true"})})
    assert {each.host for each in await cluster.until_running("wide/all", 3)} == {"host1", "host2", "host3"}
    row = await cluster.host_row("host2")
    try:
        await cluster.drover("rm", "--type", "host", "-s", "-y", "-w", row.id, timeout=180)
        assert {each.host for each in await cluster.until_running("wide/all", 2)} == {"host1", "host3"}
    finally:
        await cluster.host("host2").kill_agent()
        await cluster.host("host2").start_agent()
    assert {each.host for each in await cluster.until_running("wide/all", 3)} == {"host1", "host2", "host3"}
    await cluster.until_agreed("wide")


async def test_a_second_agent_on_the_same_engine_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.up("single", {"web": cluster.web()}, {"web": 3})
    before = await cluster.until_agreed("single")
    layout = cluster.lab.layout.host("host1")
    environment = {
        **host_environment(layout),
        "CATTLE_AGENT_IP": cluster.host("host1").address,
        "CATTLE_HOSTNAME": "impostor",
        "CATTLE_STATE_DIR": str(tmp_path / "state"),
        "CATTLE_HOME": str(tmp_path / "state"),
        "CATTLE_DETECT_CLOUD_PROVIDER": "false",
        "DROVER_VOLUME_PLUGIN_DIR": str(tmp_path / "plugins"),
    }
    url = await registration_url(cluster.lab.server_url)
    second = await asyncio.create_subprocess_exec(
        *on_host(layout, drover_command(), "agent", url),
        env={**environment, "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            output, _ = await second.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            second.kill()
    said = output.decode()
    print(said)
    assert second.returncode not in (0, None), said
    assert "another agent" in said.lower(), said
    hosts = [host.text("hostname") for host in await cluster.api.list("host") if not host.gone]
    assert sorted(hosts) == ["host1", "host2", "host3"]
    assert {each.identity for each in await cluster.until_agreed("single")} == {each.identity for each in before}
