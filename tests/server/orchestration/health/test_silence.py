"""Votes outlive their checker for a while, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from drover.server.orchestration.health.silence import LEAST_MS, Silence, holds_ms
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import CHECK, Ward

pytestmark = pytest.mark.anyio


class Clock:
    """The time, ahead of the real one by what a test adds."""

    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize(("interval", "holds"), [(None, 30_000), (2000, 30_000), (10_000, 30_000), (20_000, 60_000)])
def test_how_long_a_vote_holds(interval: int | None, holds: int) -> None:
    assert holds_ms(interval) == holds


async def stop(platform: Platform, container: Record) -> None:
    changes = platform.store.changes()
    changes.update(container, {"state": "stopped"})
    await platform.store.commit(changes)


async def test_the_votes_of_a_dead_checker_expire(platform: Platform, ward: Ward) -> None:
    clock = Clock()
    silence = Silence(platform.context, platform.hosting.health.book, clock)
    hosts = [await platform.create_host(), await platform.create_host()]
    checkers = [await ward.checker(host) for host in hosts]
    record = await ward.container()
    await platform.eventually(lambda: len(ward.votes(record)) == 2)
    task = asyncio.create_task(silence.run())
    await ward.report(checkers[0], record, "UP")
    await ward.until_health(record, "healthy")
    await ward.report(checkers[1], record, "DOWN")

    await stop(platform, checkers[0])
    await asyncio.sleep(0.05)
    assert ward.votes(record) == {hosts[0].id: "healthy", hosts[1].id: "unhealthy"}
    clock.now += LEAST_MS
    await stop(platform, checkers[0])  # any change of it makes the loop look
    silence._wake.set()
    await ward.until_health(record, "unhealthy")

    assert ward.votes(record) == {hosts[0].id: "initializing", hosts[1].id: "unhealthy"}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_checker_that_comes_back_in_time_keeps_its_votes(platform: Platform, ward: Ward) -> None:
    clock = Clock()
    silence = Silence(platform.context, platform.hosting.health.book, clock)
    checker = await ward.checker(await platform.create_host())
    record = await ward.container(healthCheck=CHECK)
    task = asyncio.create_task(silence.run())
    await ward.report(checker, record, "UP")
    await ward.until_health(record, "healthy")

    await stop(platform, checker)
    changes = platform.store.changes()
    changes.update(checker, {"state": "running"})
    await platform.store.commit(changes)
    clock.now += 10 * LEAST_MS
    silence._wake.set()
    await asyncio.sleep(0.05)

    assert list(ward.votes(record).values()) == ["healthy"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_votes_of_its_successor_count(platform: Platform, ward: Ward) -> None:
    host = await platform.create_host()
    old, new = await ward.checker(host), await ward.checker(host)
    record = await ward.container()
    await ward.report(old, record, "UP")
    await ward.until_health(record, "healthy")

    await ward.report(new, record, "UP", at=1001)

    row = await platform.store.first("healthcheckInstanceHostMap", instanceId=record.id, removed=None)
    assert row is not None
    assert row["checkerId"] == new.id
