"""The network's own containers, and everybody's while the network is changed."""

from __future__ import annotations

import uuid

import pytest

from drover.server.orchestration.health import judge as judging
from drover.server.orchestration.health.network_stacks import SETTLING_SECONDS, NetworkStacks
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import Ward

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def network_service(platform: Platform, state: str = "active") -> Record:
    """A service with a network driver, in a stack of its own."""
    changes = platform.store.changes()
    stack = changes.insert("stack", {"accountId": platform.environment.id, "kind": "stack", "state": "active"})
    service = changes.insert(
        "service",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "networkDriverService",
            "accountId": platform.environment.id,
            "stackId": stack.id,
            "state": state,
        },
    )
    await platform.store.commit(changes)
    return service


async def become(platform: Platform, service: Record, state: str) -> None:
    changes = platform.store.changes()
    changes.update(service, {"state": state})
    await platform.store.commit(changes)


@pytest.mark.parametrize("state", ["upgrading", "rolling-back", "canceling-upgrade", "finishing-upgrade"])
async def test_a_network_is_busy_while_it_is_changed_and_a_moment_after(platform: Platform, state: str) -> None:
    clock = Clock()
    stacks = NetworkStacks(platform.store, clock)
    await stacks.ready()
    service = await network_service(platform)
    account_id = platform.environment.id
    assert not stacks.busy(account_id)

    await become(platform, service, state)
    assert stacks.busy(account_id)
    await become(platform, service, "upgraded")
    assert stacks.busy(account_id)
    clock.now += SETTLING_SECONDS

    assert not stacks.busy(account_id)


async def test_bad_news_waits_while_the_network_is_upgraded(
    platform: Platform, ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drover.server.orchestration.health.network_stacks.SETTLING_SECONDS", 0.2)
    service = await network_service(platform)
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()
    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")

    await become(platform, service, "upgrading")
    await ward.report(checker, record, "DOWN")
    target = platform.hosting.health.book.get(record.id)
    assert target is not None
    assert judging.concluded(target) == "instance.updateunhealthy"
    await become(platform, service, "upgraded")
    assert (await platform.reload(record))["healthState"] == "healthy"

    await ward.until_health(record, "unhealthy")


@pytest.mark.parametrize(("setting", "health"), [("false", "healthy"), ("true", "unhealthy")])
async def test_the_networks_own_containers_count_as_well(
    platform: Platform, ward: Ward, setting: str, health: str
) -> None:
    await platform.set("ipsec.service.enable.healthcheck", setting)
    service = await network_service(platform)
    checker = await ward.checker(await platform.create_host())
    record = await ward.container(stackId=service["stackId"])
    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")

    await ward.report(checker, record, "DOWN")

    assert list(ward.votes(record).values()) == [health]
