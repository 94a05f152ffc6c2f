"""Selectors, external services, random ports, scale policies: over simulated hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from drover.server.orchestration.services.scale_policy import Growth, Scale, next_scale
from drover.server.store import Record
from tests.server.orchestration.services.builders import service_spec
from tests.server.orchestration.services.conftest import World

pytestmark = pytest.mark.anyio


async def eventually(condition: Callable[[], Awaitable[bool]], timeout: float = 30) -> None:
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.02)


async def members(world: World, service: Record) -> set[int]:
    rows = await world.store.find_by("serviceExposeMap", serviceId=service.id, removed=None, managed=False)
    return {int(row["instanceId"]) for row in rows}


async def links(world: World, service: Record) -> set[int]:
    rows = await world.store.find_by("serviceConsumeMap", serviceId=service.id, removed=None)
    return {int(row["consumedServiceId"]) for row in rows}


async def test_a_container_selector_gathers_running_containers(world: World) -> None:
    await world.add_host()
    web = await world.create_service(scale=2, launchConfig={"labels": {"tier": "front"}})
    await world.until(web, "active")
    alias = await world.create_service(
        "alias", launchConfig={"imageUuid": "docker:rancher/none"}, selectorContainer="tier=front"
    )
    await eventually(lambda: _is(members(world, alias), 2))
    await world.run("service.update", await world.until(web, "active"), {"scale": 3})
    await eventually(lambda: _is(members(world, alias), 3))
    await world.run("service.update", await world.until(web, "active"), {"scale": 1})
    await eventually(lambda: _is(members(world, alias), 1))


async def test_a_link_selector_links_services_by_their_labels(world: World) -> None:
    await world.add_host()
    consumer = await world.create_service("consumer", selectorLink="tier in (db, cache)")
    db = await world.create_service("db", launchConfig={"labels": {"tier": "db"}})
    await eventually(lambda: _holds(links(world, consumer), {db.id}))
    fresh = await world.until(consumer, "active")
    await world.run("service.update", fresh, {"selectorLink": "tier=none"})
    await eventually(lambda: _holds(links(world, consumer), set()))


async def test_the_selectors_of_a_balancer_link_it_to_what_they_choose(world: World) -> None:
    await world.add_host()
    rules = [{"sourcePort": 80, "selector": "tier=front"}, {"sourcePort": 81, "selector": "tier=x", "environment": "b"}]
    balancer = await world.create_service("lb", kind="loadBalancerService", lbConfig={"portRules": rules})
    web = await world.create_service("web", launchConfig={"labels": {"tier": "front"}})
    await world.create_service("elsewhere", launchConfig={"labels": {"tier": "x"}})
    await eventually(lambda: _holds(links(world, balancer), {web.id}))
    fresh = await world.until(web, "active")
    await world.run("service.update", fresh, {"launchConfig": {**fresh["launchConfig"], "labels": {"tier": "back"}}})
    await eventually(lambda: _holds(links(world, balancer), set()))


async def _is(found: Awaitable[set[int]], count: int) -> bool:
    return len(await found) == count


async def _holds(found: Awaitable[set[int]], expected: set[int]) -> bool:
    return await found == expected


async def test_external_services_have_a_member_for_each_address(world: World) -> None:
    service = await world.create_service(
        "outside", kind="externalService", launchConfig={}, externalIpAddresses=["192.0.2.1", "192.0.2.2"]
    )
    active = await world.until(service, "active")
    await world.run("service.update", active, {"externalIpAddresses": ["192.0.2.2", "192.0.2.3"]})
    await world.until(service, "active")
    rows = await world.store.find_by("serviceExposeMap", serviceId=service.id, removed=None)
    assert sorted(str(row["ipAddress"]) for row in rows) == ["192.0.2.2", "192.0.2.3"]


async def test_ports_without_a_public_part_get_one_for_good(world: World) -> None:
    first = await world.create_service("a", launchConfig={"ports": ["80", "8080:81/tcp"]}, startOnCreate=False)
    second = await world.create_service("b", launchConfig={"ports": ["80/udp"]}, startOnCreate=False)
    ports = [(await world.until(each, "inactive"))["launchConfig"]["ports"] for each in (first, second)]
    assert ports == [["49153:80", "8080:81/tcp"], ["49154:80/udp"]]


async def test_a_removed_service_gives_its_port_back(world: World) -> None:
    first = await world.create_service("a", launchConfig={"ports": ["80"]}, startOnCreate=False)
    await world.until(first, "inactive")
    await world.run("service.remove", first)
    await world.until(first, "removed")
    second = await world.create_service("b", launchConfig={"ports": ["80"]}, startOnCreate=False)
    assert (await world.until(second, "inactive"))["launchConfig"]["ports"] == ["49153:80"]


async def test_a_scale_policy_grows_until_nothing_fits(world: World) -> None:
    for _ in range(3):
        await world.add_host()
    service = await world.create_service(
        scalePolicy={"min": 1, "max": 10, "increment": 1}, launchConfig={"ports": ["8080:80"]}
    )
    active = await world.until(service, "active", timeout=40)
    await world.until_names(service, "shop-web-1", "shop-web-2", "shop-web-3")
    assert active["currentScale"] == 3
    await world.add_host()
    await world.until_names(service, "shop-web-1", "shop-web-2", "shop-web-3", "shop-web-4", timeout=40)


def test_what_runs_is_locked_before_the_next_increment() -> None:
    spec = service_spec(scalePolicy={"min": 2, "max": 6, "increment": 2})
    assert spec.scale == 2
    assert next_scale(spec, converged=True, failed=False, may_grow=True) == Scale(4, 2)


def test_an_increment_without_room_is_taken_back() -> None:
    spec = service_spec(scalePolicy={"min": 2, "max": 6, "increment": 2}, desiredScale=4, lockedScale=2)
    assert next_scale(spec, converged=False, failed=True, may_grow=True) == Scale(2, 2)


def test_the_maximum_is_the_end() -> None:
    spec = service_spec(scalePolicy={"min": 2, "max": 6, "increment": 2}, desiredScale=6, lockedScale=6)
    assert next_scale(spec, converged=True, failed=False, may_grow=True) is None


def test_after_a_failure_growth_waits() -> None:
    spec = service_spec(scalePolicy={"min": 2, "max": 6, "increment": 2}, desiredScale=4, lockedScale=4)
    assert next_scale(spec, converged=True, failed=False, may_grow=False) is None


def test_a_failure_of_yesterday_says_nothing_about_new_hosts() -> None:
    growth = Growth()
    growth.begins()
    growth.reconsider()  # a host came while the attempt was under way
    growth.failed()
    assert growth.worth_trying
    growth.begins()
    growth.failed()
    assert not growth.worth_trying
