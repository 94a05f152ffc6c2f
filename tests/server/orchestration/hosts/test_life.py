"""Hosts: taken out of service, emptied, removed."""

from __future__ import annotations

import pytest

from drover.common.clock import now_ms
from drover.server.orchestration.hosts.lost import LostHosts
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio


async def test_an_inactive_host_gets_no_containers(platform: Platform) -> None:
    host = await platform.create_host()
    await platform.schedule("host.deactivate", host)
    await platform.until("host", host.id, "inactive")
    failed = await platform.until("instance", (await platform.plan()).id, "error")
    assert "inactive" in failed["transitioningMessage"]
    await platform.schedule("host.activate", host)
    await platform.until("host", host.id, "active")
    await platform.start()


async def test_a_removed_host_leaves_nothing_behind(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start(ports=["80:80"])
    await platform.schedule("host.deactivate", host, chainTo="host.remove")
    removed = await platform.until("host", host.id, "removed")
    assert removed["removed"]
    assert (await platform.reload(container))["removed"]
    for type_name in ("storagePool", "ipAddress"):
        assert await platform.store.find_by(type_name, hostId=host.id, removed=None) == []
    machine = await platform.store.get("physicalHost", host["physicalHostId"])
    assert machine is not None
    assert machine["removed"]
    await platform.until("agent", host["agentId"], "removed")


async def test_a_removed_host_need_not_be_reachable(platform: Platform) -> None:
    host = await platform.create_host()
    container = await platform.start()
    platform.hosting.simulated.model(host["agentId"]).connected = False
    await platform.until("agent", host["agentId"], "disconnected")
    await platform.schedule("host.deactivate", host, chainTo="host.remove")
    await platform.until("host", host.id, "removed")
    assert (await platform.reload(container))["removed"]


async def test_evacuation_spares_the_systems_own(platform: Platform) -> None:
    host = await platform.create_host()
    user = await platform.start()
    system = await platform.start(system=True)
    changes = platform.store.changes()
    event = changes.insert(
        "externalEvent",
        {
            "kind": "externalHostEvent",
            "state": "requested",
            "eventType": "host.evacuate",
            "hostId": host.id,
            "accountId": platform.environment.id,
        },
    )
    platform.context.engine.schedule(changes, "externalevent.create", event)
    await platform.store.commit(changes)
    await platform.until("externalEvent", event.id, "created")
    assert (await platform.reload(user))["removed"]
    assert (await platform.reload(system)).state == "running"
    assert (await platform.reload(host)).state == "inactive"


async def test_a_lost_host_is_removed_when_its_time_has_come(platform: Platform) -> None:
    host = await platform.create_host()
    platform.hosting.simulated.model(host["agentId"]).connected = False
    await platform.until("agent", host["agentId"], "disconnected")
    lost = LostHosts(platform.context, platform.hosting.hosts, platform.hosting.agents)
    await lost.run_once()
    assert (await platform.reload(host))["removeAfter"] is None
    changes = platform.store.changes()
    changes.update(host, {"removeAfter": now_ms() - 1})
    await platform.store.commit(changes)
    await lost.run_once()
    assert (await platform.reload(host)).state == "active", "the server has only just started"
    lost._started -= 1000
    await lost.run_once()
    await platform.until("host", host.id, "removed")


async def test_a_lost_agent_without_a_host_is_removed(platform: Platform) -> None:
    agent = await platform.create_agent("event://nobody-there")
    await platform.until("agent", agent.id, "disconnected")
    lost = LostHosts(platform.context, platform.hosting.hosts, platform.hosting.agents)
    lost._started -= 1000
    await lost.run_once()
    assert (await platform.reload(agent)).state == "disconnected", "never, unless somebody says so"
    await platform.set("host.remove.delay.seconds", "0")
    await lost.run_once()
    await platform.until("agent", agent.id, "removed")
