"""Containers that belong together, and where they end up."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from drover.server.orchestration.instances.plan import plan_instance, plan_stop_and_remove
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

NEAR = "io.rancher.scheduler.affinity:container"
AWAY = "io.rancher.scheduler.affinity:container_label_soft_ne"


async def plan_unit(platform: Platform, *members: dict[str, Any]) -> list[Record]:
    unit = str(uuid.uuid4())
    changes = platform.store.changes()
    planned = []
    for each in members:
        values = {"accountId": platform.environment.id, "imageUuid": "sim:x", "deploymentUnitUuid": unit, **each}
        planned.append(plan_instance(platform.context, changes, values))
    await platform.store.commit(changes)
    return planned


async def test_a_unit_goes_to_one_host_that_has_room_for_all_of_it(platform: Platform) -> None:
    await platform.create_host(memory=100)
    large = await platform.create_host(memory=400)
    members = await plan_unit(platform, {"memoryReservation": 90}, {"memoryReservation": 90}, {"memoryReservation": 90})
    for each in members:
        running = await platform.until("instance", each.id, "running")
        assert running["hostId"] == large.id


async def test_a_late_member_joins_its_unit(platform: Platform) -> None:
    for _ in range(3):
        await platform.create_host()
    (first,) = await plan_unit(platform, {})
    placed = await platform.until("instance", first.id, "running")
    late = await platform.start(deploymentUnitUuid=placed["deploymentUnitUuid"])
    assert late["hostId"] == placed["hostId"]


async def test_sharing_a_network_means_waiting_and_following(platform: Platform) -> None:
    for _ in range(3):
        await platform.create_host()
    first = await platform.plan(name="first")
    second = await platform.plan(networkContainerId=first.id, networkMode="container", dataVolumesFrom=[first.id])
    running = await platform.until("instance", second.id, "running")
    first = await platform.until("instance", first.id, "running")
    assert running["hostId"] == first["hostId"]
    assert running["primaryIpAddress"] is None
    await platform.schedule("instance.stop", first)
    await platform.until("instance", second.id, "stopped")


async def test_sharing_with_a_stopped_container_fails_with_its_reason(platform: Platform) -> None:
    await platform.create_host()
    first = await platform.plan(startOnCreate=False)
    await platform.until("instance", first.id, "stopped")
    second = await platform.plan(dataVolumesFrom=[first.id])
    failed = await platform.until("instance", second.id, "error")
    assert failed["transitioningMessage"] == "Dependencies readiness error : volumeFrom instance is not running"


async def test_soft_anti_affinity_spreads_and_then_gives_in(platform: Platform) -> None:
    for _ in range(3):
        await platform.create_host()
    labels = {"io.rancher.stack.name": "shop", "svc": "web", AWAY: "svc=web"}
    placed = [(await platform.start(labels=labels))["hostId"] for _ in range(4)]
    assert len(set(placed[:3])) == 3


async def test_a_requested_host_takes_more_than_it_has(platform: Platform) -> None:
    small = await platform.create_host(memory=100)
    await platform.create_host(memory=1000)
    labels = {NEAR: "nobody"}
    running = await platform.start(requestedHostId=small.id, memoryReservation=500, labels=labels)
    assert running["hostId"] == small.id


async def test_memory_that_is_freed_can_be_had_again(platform: Platform) -> None:
    await platform.create_host(memory=100)
    first = await platform.start(memoryReservation=80)
    second = await platform.plan(memoryReservation=80)
    failed = await platform.until("instance", second.id, "error")
    assert "memory: 0 MiB free, needs 1 MiB" in failed["transitioningMessage"]
    changes = platform.store.changes()
    plan_stop_and_remove(platform.context, changes, first)
    await platform.store.commit(changes)
    await platform.until("instance", first.id, "removed")
    await platform.start(memoryReservation=80)


async def test_a_thousand_starts_ask_for_no_more_statements_each_than_ten(platform: Platform) -> None:
    for _ in range(4):
        await platform.create_host()
    await platform.start()

    async def statements(count: int) -> float:
        before = platform.store.database.statements
        members = [{"name": f"c{number}"} for number in range(count)]
        changes = platform.store.changes()
        for type_name in ("instance", "processInstance", "ipAddress"):
            await platform.store.ensure_ids(type_name, count)
        records = [
            plan_instance(
                platform.context, changes, {"accountId": platform.environment.id, "imageUuid": "sim:x", **each}
            )
            for each in members
        ]
        await platform.store.commit(changes)
        for record in records:
            await platform.until("instance", record.id, "running")
        return (platform.store.database.statements - before) / count

    few, many = await statements(50), await statements(400)
    assert many <= few
    assert many < 1.5
