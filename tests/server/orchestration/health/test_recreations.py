"""How failed containers are replaced: not all at once, and preferably elsewhere."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from drover.server.orchestration.health.recreations import (
    AVOID_MS,
    LEAST,
    Recreations,
    avoided_hosts,
    plan_failure,
)
from drover.server.orchestration.services.digest import Digest
from drover.server.orchestration.services.planner import plan
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import CHECK, Ward
from tests.server.orchestration.services.builders import add_unit, service_spec

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_share_of_the_environment_in_a_minute(platform: Platform) -> None:
    clock = Clock()
    recreations = Recreations(platform.context.settings, clock)

    assert recreations.allowed(1, 100) == 20
    recreations.take(1, 15)
    assert recreations.allowed(1, 100) == 5
    assert recreations.allowed(2, 100) == 20
    clock.now += 59
    assert recreations.allowed(1, 100) == 5
    assert recreations.wait(1) == pytest.approx(1.0)
    clock.now += 1
    assert recreations.allowed(1, 100) == 20


async def test_a_few_may_always_be_replaced(platform: Platform) -> None:
    assert Recreations(platform.context.settings).allowed(1, 3) == LEAST


@pytest.mark.parametrize(("value", "allowed"), [("50", 50), ("100", 100), ("0", LEAST), ("nonsense", 20)])
async def test_the_share_is_a_setting(platform: Platform, value: str, allowed: int) -> None:
    await platform.set("health.recreate.percent", value)

    assert Recreations(platform.context.settings).allowed(1, 100) == allowed


async def test_a_failure_is_remembered_for_a_while(platform: Platform) -> None:
    changes = platform.store.changes()
    unit = changes.insert("deploymentUnit", {"uuid": str(uuid.uuid4()), "state": "active"})
    await platform.store.commit(changes)
    for host_id, now in ((7, 1000), (9, 5000)):
        changes = platform.store.changes()
        plan_failure(changes, unit, host_id, now)
        await platform.store.commit(changes)
        unit = await platform.reload(unit)

    assert avoided_hosts(unit, 5000) == [7, 9]
    assert avoided_hosts(unit, 1000 + AVOID_MS) == [9]
    assert avoided_hosts(unit, 5000 + AVOID_MS) == []


async def test_a_container_that_failed_goes_elsewhere_if_it_can(platform: Platform, ward: Ward) -> None:
    first, second = await platform.create_host(), await platform.create_host()

    there = await platform.start(name="a", avoidedHostIds=[first.id])
    again = await platform.start(name="b", avoidedHostIds=[first.id])
    nowhere_else = await platform.start(name="c", avoidedHostIds=[first.id, second.id])

    assert [there["hostId"], again["hostId"]] == [second.id, second.id]
    assert nowhere_else.state == "running"


async def test_one_that_took_too_long_is_remembered_with_its_unit(platform: Platform, ward: Ward) -> None:
    host = await platform.create_host()
    changes = platform.store.changes()
    unit = changes.insert("deploymentUnit", {"uuid": str(uuid.uuid4()), "state": "active"})
    await platform.store.commit(changes)
    record = await ward.container(healthCheck={**CHECK, "initializingTimeout": 100}, deploymentUnitUuid=unit.uuid)

    await platform.until("instance", record.id, "removed")

    assert list((await platform.reload(unit))["failedHosts"]) == [str(host.id)]


UNHEALTHY = {"state": "running", "healthState": "unhealthy"}
INITIALIZING = {"state": "running", "healthState": "initializing"}


def digest_of(strategy: dict[str, Any], *units: Any, sidekick: bool = False) -> Digest:
    launch = {"healthCheck": {"port": 80, **strategy}}
    fields: dict[str, Any] = {"scale": len(units), "launchConfig": launch}
    if sidekick:
        fields["secondaryLaunchConfigs"] = [{"name": "side", "imageUuid": "docker:side"}]
    digest = Digest(service_spec(**fields))
    for index, unit in enumerate(units, 1):
        add_unit(digest, index, **(unit if sidekick else {"primary": unit}))
    return digest


@pytest.mark.parametrize(
    ("quorum", "others", "replaced"),
    [
        (1, ["running"], 1),
        (1, [], 0),
        (2, ["running"], 0),
        (2, ["running", "running"], 1),
        (2, ["running", INITIALIZING], 0),
        (3, ["running", "running", "running"], 1),
    ],
)
async def test_a_quorum_of_good_units(quorum: int, others: list[Any], replaced: int) -> None:
    strategy = {"strategy": "recreateOnQuorum", "recreateOnQuorumStrategyConfig": {"quorum": quorum}}
    digest = digest_of(strategy, UNHEALTHY, *others)

    assert len(plan(digest.spec, digest, hosts=()).recreate) == replaced


async def test_a_sidekick_that_fails_takes_the_unit_with_it() -> None:
    digest = digest_of({"strategy": "recreate"}, {"primary": "running", "side": UNHEALTHY}, sidekick=True)

    steps = plan(digest.spec, digest, hosts=())

    assert len(steps.recreate) == 1
    assert len(steps.remove_members) == 2


async def test_what_exceeds_the_share_waits() -> None:
    digest = digest_of({"strategy": "recreate"}, *[UNHEALTHY] * 10)

    steps = plan(digest.spec, digest, hosts=(), recreations=4)

    assert (len(steps.recreate), len(steps.remove_members), steps.postponed) == (4, 4, 6)
    assert steps.waiting
