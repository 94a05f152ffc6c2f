"""Initializations that take too long."""

from __future__ import annotations

import pytest

from drover.server.orchestration.health.book import Check, Target
from drover.server.orchestration.health.deadlines import Deadlines
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import CHECK, Ward

pytestmark = pytest.mark.anyio


def target(check: Check, health: str = "initializing") -> Target:
    return Target(Record("instance", 1, {"state": "running", "healthState": health, "healthUpdated": 1000}), check)


@pytest.mark.parametrize(
    ("check", "health", "due"),
    [
        (Check(initializing_timeout=None), "initializing", None),
        (Check(initializing_timeout=500), "initializing", 1500),
        (Check(initializing_timeout=0), "initializing", 61_000),
        (Check(initializing_timeout=500), "reinitializing", None),
        (Check(reinitializing_timeout=700), "reinitializing", 1700),
        (Check(initializing_timeout=500), "healthy", None),
        (Check(initializing_timeout=500), "unhealthy", None),
        (Check(strategy="none", initializing_timeout=500), "initializing", None),
        (Check(strategy="recreateOnQuorum", initializing_timeout=500), "initializing", 1500),
    ],
)
async def test_when_time_is_over(platform: Platform, check: Check, health: str, due: int | None) -> None:
    deadlines = Deadlines(platform.context, platform.hosting.health.book)

    assert deadlines.due(target(check, health)) == due


async def test_a_container_that_takes_too_long_is_removed(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await ward.container(healthCheck={**CHECK, "initializingTimeout": 300})

    found = await platform.until("instance", record.id, "removed")

    assert found["removed"] - record["healthUpdated"] >= 300


async def test_one_that_becomes_healthy_in_time_stays(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    check = {**CHECK, "initializingTimeout": 1500}
    good = await ward.container("good-simUnhealthy", healthCheck=check)
    await ward.report(checker, good, "UP")
    await ward.until_health(good, "healthy")
    late = await ward.container("late-simUnhealthy", healthCheck=check)

    await platform.until("instance", late.id, "removed")

    assert (await platform.reload(good)).state == "running"


async def test_a_container_that_somebody_stopped_is_left_alone(platform: Platform, ward: Ward) -> None:
    stopped = target(Check(initializing_timeout=500))
    stopped.record.values["state"] = "stopped"

    assert Deadlines(platform.context, platform.hosting.health.book).due(stopped) is None
