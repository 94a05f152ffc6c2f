"""What reports amount to."""

from __future__ import annotations

import pytest

from drover.server.orchestration.health import CannotVerify
from drover.server.orchestration.health.reports import Report
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import CHECK, Ward

pytestmark = pytest.mark.anyio


async def test_a_simulated_container_becomes_healthy(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await platform.start(name="web", healthCheck=CHECK)

    await ward.until_health(record, "healthy")


async def test_a_container_without_a_check_has_no_health(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await platform.start(name="web")

    assert record["healthState"] is None
    assert ward.votes(record) == {}


async def test_a_health_that_somebody_set_is_not_checked(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await platform.start()
    changes = platform.store.changes()
    changes.update(record, {"healthState": "unhealthy"})
    await platform.store.commit(changes)
    assert platform.hosting.health.book.get(record.id) is None


async def test_one_healthy_vote_suffices_and_one_keeps_it(platform: Platform, ward: Ward) -> None:
    hosts = [await platform.create_host() for _ in range(3)]
    checkers = [await ward.checker(host) for host in hosts]
    record = await ward.container()
    await platform.eventually(lambda: len(ward.votes(record)) == 3)

    await ward.report(checkers[0], record, "UP")
    await ward.until_health(record, "healthy")
    await ward.report(checkers[1], record, "DOWN")
    await ward.report(checkers[2], record, "DOWN 1/2")
    assert sorted(ward.votes(record).values()) == ["healthy", "unhealthy", "unhealthy"]
    assert (await platform.reload(record))["healthState"] == "healthy"

    await ward.report(checkers[0], record, "DOWN")
    await ward.until_health(record, "unhealthy")
    await ward.report(checkers[2], record, "UP")
    await ward.until_health(record, "healthy")


@pytest.mark.parametrize("hosts", [1, 2])
async def test_a_silent_checker_does_not_object(platform: Platform, ward: Ward, hosts: int) -> None:
    found = [await platform.create_host() for _ in range(hosts)]
    checker = await ward.checker(found[0])
    record = await ward.container()
    await platform.eventually(lambda: len(ward.votes(record)) == hosts)

    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")
    await ward.report(checker, record, "DOWN")

    await ward.until_health(record, "unhealthy")


async def test_down_during_initialization_is_dropped(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()

    await ward.report(checker, record, "DOWN")

    assert list(ward.votes(record).values()) == ["initializing"]
    assert (await platform.reload(record))["healthState"] == "initializing"
    assert await platform.store.find_by("serviceEvent") == []


async def test_init_and_reports_without_a_time_are_ignored(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(host := await platform.create_host())
    record = await ward.container()

    await ward.report(checker, record, "INIT")
    text = f"{host.uuid}_{record.uuid}_1"
    await platform.hosting.health.reports.take(checker["agentId"], Report(text, "UP", None))

    assert list(ward.votes(record).values()) == ["initializing"]


async def test_reports_of_an_older_clock_are_dropped(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()
    await ward.report(checker, record, "UP", at=1000)
    await ward.until_health(record, "healthy")

    await ward.report(checker, record, "DOWN", at=999)

    assert list(ward.votes(record).values()) == ["healthy"]


async def test_a_repeated_report_writes_nothing(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()
    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")
    events = len(await platform.store.find_by("serviceEvent"))

    await ward.report(checker, record, "UP", at=2000)

    assert len(await platform.store.find_by("serviceEvent")) == events == 1


async def test_a_restart_makes_earlier_votes_worthless(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()
    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")

    await platform.schedule("instance.restart", record)
    await ward.until_health(record, "reinitializing")
    assert list(ward.votes(record).values()) == ["initializing"]
    await ward.report(checker, record, "UP", start=1, at=3000)
    assert list(ward.votes(record).values()) == ["initializing"]

    await ward.report(checker, record, "UP", start=2, at=3000)
    await ward.until_health(record, "healthy")


async def test_the_uuid_of_a_map_names_the_check_too(platform: Platform, ward: Ward) -> None:
    checker = await ward.checker(await platform.create_host())
    record = await ward.container()
    row = await platform.store.first("healthcheckInstanceHostMap", instanceId=record.id, removed=None)
    assert row is not None

    await platform.hosting.health.reports.take(checker["agentId"], Report(row.uuid, "UP", 5))

    await ward.until_health(record, "healthy")


async def test_only_the_checking_host_may_report(platform: Platform, ward: Ward) -> None:
    own, other = await platform.create_host(), await platform.create_host(labels={SKIP: "skip"})
    record = await ward.container(requestedHostId=own.id)
    stranger = await ward.checker(other)
    checker = await ward.checker(own)

    with pytest.raises(CannotVerify):
        await ward.report(stranger, record, "UP")
    with pytest.raises(CannotVerify):
        await ward.report(stranger, record, "UP", host=own.uuid)
    with pytest.raises(CannotVerify):
        await platform.hosting.health.reports.take(None, Report("a_b_1", "UP", 1))
    with pytest.raises(CannotVerify):
        await platform.hosting.health.reports.take(checker["agentId"], Report("no-such-map", "UP", 1))
    assert record["healthState"] == "initializing"


SKIP = "io.rancher.host.healthcheck.deploy_strategy"
