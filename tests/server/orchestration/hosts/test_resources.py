"""From what agents report to hosts."""

from __future__ import annotations

import pytest

from drover.server.orchestration.hosts.labels import merge
from drover.server.orchestration.hosts.report import read_report
from drover.simulator.model import OVERRIDES_KEY, Overrides, SimulatedAgent
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio


async def test_a_report_becomes_rows(platform: Platform) -> None:
    host = await platform.create_host(memory=1024, milliCpu=2000, ipAddress="10.9.9.9")
    assert host.name == f"testhost-{host['reportedUuid'].removesuffix('-0')}"
    assert (host["memory"], host["milliCpu"], host["agentIpAddress"]) == (1024, 2000, "10.9.9.9")
    (pool,) = await platform.store.find_by("storagePool", hostId=host.id)
    assert (pool.kind, pool.uuid) == ("sim", f"{host['reportedUuid']}-0")
    (address,) = await platform.store.find_by("ipAddress", hostId=host.id)
    assert address["address"] == "10.9.9.9"
    machine = await platform.store.get("physicalHost", host["physicalHostId"])
    assert machine is not None
    assert machine["reportedUuid"].endswith("-physical-host")


async def test_an_identical_report_changes_nothing(platform: Platform) -> None:
    await platform.create_host()
    written = platform.store.database.statements
    await platform.hosting.pinger.ping_all()
    heard: list[object] = []
    platform.store.listen(heard.extend)
    await platform.hosting.pinger.ping_all()
    assert heard == []
    assert platform.store.database.statements - written < 10


async def test_a_copied_identity_is_refused_while_the_original_is_connected(platform: Platform) -> None:
    first = await platform.create_host(externalId="same-machine")
    second = await platform.create_agent(data={OVERRIDES_KEY: {"externalId": "same-machine"}})
    refused = await platform.eventually(lambda: refused_agent(platform, second.id))
    assert "is connected already" in refused["transitioningMessage"]
    assert "--new-identity" in refused["transitioningMessage"]
    hosts = await platform.store.find_by("host", removed=None)
    assert [each.id for each in hosts] == [first.id]


async def refused_agent(platform: Platform, agent_id: int) -> object:
    row = await platform.store.get("agent", agent_id)
    return row if row is not None and row["transitioning"] == "error" else None


async def test_a_machine_that_registers_anew_keeps_its_host(platform: Platform) -> None:
    host = await platform.create_host(externalId="same-machine")
    agent = await platform.store.get("agent", host["agentId"])
    assert agent is not None
    platform.hosting.simulated.model(agent.id).connected = False
    await platform.until("agent", agent.id, "disconnected")
    second = await platform.create_agent(data={OVERRIDES_KEY: {"externalId": "same-machine"}})
    await platform.eventually(lambda: owned(platform, host.id, second.id))


async def owned(platform: Platform, host_id: int, agent_id: int) -> bool:
    row = await platform.store.get("host", host_id)
    return row is not None and row["agentId"] == agent_id


@pytest.mark.parametrize(
    ("current", "last", "reported", "expected"),
    [
        ({}, {}, {"a": "1"}, {"a": "1"}),
        ({"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2"}),
        ({"a": "mine"}, {"a": "1"}, {"a": "1"}, {"a": "mine"}),
        ({}, {"a": "1"}, {"a": "1"}, {}),
        ({"a": "1", "user": "x"}, {"a": "1"}, {}, {"user": "x"}),
        ({"a": "mine"}, {"a": "1"}, {}, {"a": "mine"}),
    ],
)
def test_labels_of_agent_and_user(
    current: dict[str, str], last: dict[str, str], reported: dict[str, str], expected: dict[str, str]
) -> None:
    assert merge(current, last, reported) == expected


async def test_labels_are_rows_too(platform: Platform) -> None:
    host = await platform.create_host()
    changes = platform.store.changes()
    host = changes.update(host, {"labels": {"zone": "a"}})
    platform.context.engine.schedule(changes, "host.update", host)
    await platform.store.commit(changes)
    await platform.until("host", host.id, "active")
    (row,) = await platform.store.find_by("label", accountId=platform.environment.id, type="host", removed=None)
    assert (row["key"], row["value"], row["source"], row["hostId"]) == ("zone", "a", "user", host.id)


def test_the_order_of_elements_does_not_matter() -> None:
    agent = SimulatedAgent("x", Overrides(hosts=2, storage_pools_per_host=2))
    elements = agent.answer("ping", {"options": {"resources": True}}, now=0).data
    assert elements is not None
    found = read_report(elements["resources"])
    backwards = read_report(reversed(elements["resources"]))
    assert {each.uuid: each.address for each in found} == {each.uuid: each.address for each in backwards}
    assert [len(each.pools) for each in found] == [2, 2]
    assert {each.physical_uuid for each in found} == {"x-physical-host"}


def test_unusable_elements_are_passed_over() -> None:
    assert read_report([{"type": "host"}, {"uuid": "x"}, {"type": "storagePool", "uuid": "p"}]) == []
    (host,) = read_report([{"type": "host", "uuid": "x", "memory": "lots", "labels": ["no"]}])
    assert (host.memory, host.labels) == (None, {})
