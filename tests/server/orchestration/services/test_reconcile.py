"""Services over simulated hosts: the whole orchestration, the real store and engine, no Docker."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drover.server.orchestration.services import reconciler
from drover.server.orchestration.services.steps import take
from drover.server.store import GuardFailed
from tests.server.orchestration.services.conftest import World

pytestmark = pytest.mark.anyio


async def test_a_service_comes_up(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=3)
    active = await world.until(service, "active")
    running = await world.until_names(service, "shop-web-1", "shop-web-2", "shop-web-3")
    assert (active["currentScale"], active["healthState"]) == (3, "healthy")
    addresses = {record["primaryIpAddress"] for record in running}
    assert len(addresses) == 3
    assert all(str(address).startswith("10.42.") for address in addresses)


async def test_scaling_down_takes_the_youngest_and_up_the_lowest_index(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=3)
    await world.until(service, "active")
    await world.run("service.update", service, {"scale": 1})
    await world.until_names(service, "shop-web-1")
    await world.run("service.update", await world.until(service, "active"), {"scale": 2})
    await world.until_names(service, "shop-web-1", "shop-web-2")


async def test_the_shown_scale_does_not_count_what_is_on_its_way_out(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=3)
    await world.until(service, "active")
    await world.run("service.update", service, {"scale": 1})
    assert (await world.until(service, "active"))["currentScale"] == 1


async def test_a_pass_that_loses_a_race_forgets_nobody_who_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = 0

    async def lose_twice(*arguments: Any) -> None:
        nonlocal lost
        lost += 1
        if lost <= 2:
            raise GuardFailed("service", 1, "state", expected="activating", found="updating-active")
        await take(*arguments)

    monkeypatch.setattr(reconciler, "take", lose_twice)
    await world.add_host()
    service = await world.create_service()
    await world.until(service, "active")
    assert lost > 2


async def test_a_removed_container_is_replaced_in_its_unit(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=3)
    await world.until(service, "active")
    containers = await world.until_names(service, "shop-web-1", "shop-web-2", "shop-web-3")
    await world.run("instance.stop", containers[1], remove=True)
    await world.until(containers[1], "removed")
    again = await world.until_names(service, "shop-web-1", "shop-web-2", "shop-web-3")
    assert again[1].id != containers[1].id
    assert again[1]["deploymentUnitUuid"] == containers[1]["deploymentUnitUuid"]


async def test_a_stopped_container_is_started_again(world: World) -> None:
    await world.add_host()
    service = await world.create_service()
    await world.until(service, "active")
    (container,) = await world.until_names(service, "shop-web-1")
    await world.run("instance.stop", container)
    await world.until(container, "stopped")
    (again,) = await world.until_names(service, "shop-web-1")
    assert again.id == container.id
    assert again["startCount"] == 2


async def test_start_once_containers_are_left_stopped(world: World) -> None:
    await world.add_host()
    service = await world.create_service(launchConfig={"labels": {"io.rancher.container.start_once": "true"}})
    await world.until(service, "active")
    (container,) = await world.until_names(service, "shop-web-1")
    await world.run("instance.stop", container)
    await world.until(container, "stopped")
    await asyncio.sleep(0.5)
    assert [r.state for r in await world.containers(service)] == ["stopped"]


async def test_sidekicks_share_their_host(world: World) -> None:
    for _ in range(3):
        await world.add_host()
    side = {"name": "side", "imageUuid": "sim:side", "networkLaunchConfig": "web"}
    service = await world.create_service(scale=3, secondaryLaunchConfigs=[side])
    await world.until(service, "active")
    hosts: dict[str, set[int]] = {}
    for record in await world.containers(service, "running"):
        hosts.setdefault(record["deploymentUnitUuid"], set()).add(record["hostId"])
    assert len(hosts) == 3
    assert all(len(each) == 1 for each in hosts.values())


async def test_a_global_service_follows_the_hosts(world: World) -> None:
    await world.add_host()
    service = await world.create_service(launchConfig={"labels": {"io.rancher.scheduler.global": "true"}})
    await world.until(service, "active")
    await world.until_names(service, "shop-web-1")
    await world.add_host()
    running = await world.until_names(service, "shop-web-1", "shop-web-2")
    assert len({record["hostId"] for record in running}) == 2


async def test_without_a_host_the_service_waits_and_says_why(world: World) -> None:
    service = await world.create_service()
    found = await world.context.watch.until(
        "service", service.id, lambda r: r is not None and r["transitioningMessage"] is not None, timeout=20
    )
    assert found is not None
    assert "add a host" in found["transitioningMessage"]
    await world.add_host()
    active = await world.until(service, "active")
    assert active["transitioningMessage"] is None


async def test_what_fits_nowhere_says_why_per_host(world: World) -> None:
    await world.add_host()
    labels = {"io.rancher.scheduler.affinity:host_label": "zone=b"}
    service = await world.create_service(launchConfig={"labels": labels})
    found = await world.context.watch.until(
        "service", service.id, lambda r: r is not None and r["transitioningMessage"] is not None, timeout=30
    )
    assert found is not None
    assert "Allocation failed" in found["transitioningMessage"]
    assert "zone" in found["transitioningMessage"]
    await world.add_host(zone="b")
    await world.until(service, "active")


async def test_deactivate_stops_and_activate_starts(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=2)
    await world.until(service, "active")
    await world.run("service.deactivate", service)
    await world.until(service, "inactive")
    async with asyncio.timeout(30):
        while len(await world.containers(service, "stopped")) != 2:
            await asyncio.sleep(0.02)
    await world.run("service.activate", service)
    await world.until(service, "active")
    await world.until_names(service, "shop-web-1", "shop-web-2")


async def test_removal_removes_every_container(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=3)
    await world.until(service, "active")
    await world.run("service.remove", service)
    await world.until(service, "removed")
    async with asyncio.timeout(30):
        while await world.containers(service):
            await asyncio.sleep(0.02)


async def test_an_upgrade_replaces_the_containers_in_their_units(world: World) -> None:
    from drover.server.orchestration.services.upgrade import prepare_upgrade

    await world.add_host()
    service = await world.create_service(scale=2)
    active = await world.until(service, "active")
    before = await world.until_names(service, "shop-web-1", "shop-web-2")
    values = prepare_upgrade(active, {"launchConfig": {"imageUuid": "sim:new"}, "intervalMillis": 100})
    await world.run("service.upgrade", active, values)
    await world.until(service, "upgraded")
    running = await world.containers(service, "running")
    assert [r["imageUuid"] for r in running] == ["sim:new", "sim:new"]
    assert len(await world.containers(service, "stopped")) == 2
    await world.run("service.finishupgrade", service)
    await world.until(service, "active")
    after = await world.until_names(service, "shop-web-1", "shop-web-2")
    assert {r["deploymentUnitUuid"] for r in after} == {r["deploymentUnitUuid"] for r in before}


async def test_rollback_brings_the_old_containers_back(world: World) -> None:
    from drover.server.orchestration.services.upgrade import prepare_rollback, prepare_upgrade

    await world.add_host()
    service = await world.create_service(scale=2)
    active = await world.until(service, "active")
    before = await world.until_names(service, "shop-web-1", "shop-web-2")
    values = prepare_upgrade(active, {"launchConfig": {"imageUuid": "sim:new"}, "intervalMillis": 100})
    await world.run("service.upgrade", active, values)
    upgraded = await world.until(service, "upgraded")
    await world.run("service.rollback", upgraded, prepare_rollback(upgraded))
    await world.until(service, "active")
    after = await world.until_names(service, "shop-web-1", "shop-web-2")
    assert [r.id for r in after] == [r.id for r in before]


async def test_health_is_added_up(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=2)
    await world.until(service, "active")
    for type_name, row_id in (("service", service.id), ("stack", service["stackId"]), ("account", world.account.id)):
        await world.context.watch.until(
            type_name, row_id, lambda r: r is not None and r["healthState"] == "healthy", timeout=20
        )


async def test_the_service_log_tells_what_was_done(world: World) -> None:
    await world.add_host()
    service = await world.create_service(scale=5)
    await world.until(service, "active")
    await world.run("service.update", service, {"scale": 1})
    await world.until_names(service, "shop-web-1")
    entries = await world.store.find_by("serviceLog", serviceId=service.id)
    assert [entry["description"] for entry in entries] == [
        "Creating 5 containers: shop-web-1, shop-web-2, shop-web-3 and 2 more",
        "Removing extra 4 containers: shop-web-5, shop-web-4, shop-web-3 and 1 more",
    ]


async def test_the_balancer_of_a_stack_file_runs_in_our_image(world: World) -> None:
    await world.add_host()
    standard = "docker:rancher/lb-service-haproxy:v0.9.14"
    service = await world.create_service("lb", kind="loadBalancerService", launchConfig={"imageUuid": standard})
    (container,) = await world.until_names(service, "shop-lb-1")
    assert (container["imageUuid"], container["command"]) == ("docker:drover:latest", ["balancer", "--guard"])
    await world.until(service, "active")
    kept = await world.store.get("service", service.id)
    assert kept is not None
    assert kept["launchConfig"]["imageUuid"] == standard
