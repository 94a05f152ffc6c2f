"""Which hosts check a container, and what hosts that come and go change."""

from __future__ import annotations

import random

import pytest

from drover.server.orchestration.health.election import choose
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform
from tests.server.orchestration.health.conftest import Ward

pytestmark = pytest.mark.anyio

SKIP = "io.rancher.host.healthcheck.deploy_strategy"


def host(number: int, **values: object) -> Record:
    return Record("host", number, {"state": "active", "agentState": "active", **values})


def chosen(own: Record | None, hosts: list[Record], present: tuple[int, ...] = ()) -> list[int]:
    return [each.id for each in choose(own, hosts, present, rng=random.Random(1))]


def test_the_own_host_comes_first() -> None:
    hosts = [host(number) for number in range(1, 11)]

    found = chosen(hosts[6], hosts)

    assert found[0] == 7
    assert len(set(found)) == 3


def test_all_hosts_check_where_there_are_few() -> None:
    assert sorted(chosen(host(1), [host(1), host(2)])) == [1, 2]


def test_the_own_host_checks_even_when_it_takes_no_new_containers() -> None:
    own = host(1, state="inactive")

    assert chosen(own, [own])[0] == 1


@pytest.mark.parametrize(
    "unfit",
    [{"labels": {SKIP: "skip"}}, {"state": "inactive"}, {"agentState": "disconnected"}, {"agentState": "reconnecting"}],
)
def test_hosts_that_do_not_qualify_are_left_out(unfit: dict[str, object]) -> None:
    assert chosen(host(1), [host(1), host(2, **unfit)]) == [1]


def test_the_own_host_may_be_skipped_too() -> None:
    own = host(1, labels={SKIP: "skip"})

    assert chosen(own, [own, host(2)]) == [2]


def test_only_what_is_missing_is_added() -> None:
    hosts = [host(number) for number in range(1, 6)]

    assert chosen(hosts[0], hosts, (2, 3, 4)) == []
    assert chosen(hosts[0], hosts, (2, 3)) == [1]


def test_a_vote_of_a_host_that_no_longer_qualifies_does_not_count() -> None:
    hosts = [host(1), host(2), host(3), host(4, state="inactive"), host(5)]

    assert len(chosen(hosts[0], hosts, (1, 2, 4))) == 1


async def test_three_hosts_check_with_the_own_one_among_them(platform: Platform, ward: Ward) -> None:
    for _ in range(4):
        await platform.create_host()

    record = await ward.container()

    assert len(ward.votes(record)) == 3
    assert record["hostId"] in ward.votes(record)


async def test_a_new_host_fills_up(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await ward.container()
    assert len(ward.votes(record)) == 1

    await platform.create_host()

    await platform.eventually(lambda: len(ward.votes(record)) == 2)


async def test_a_lost_host_loses_its_votes_and_gets_new_ones_when_it_is_back(platform: Platform, ward: Ward) -> None:
    own, other = await platform.create_host(), await platform.create_host()
    record = await ward.container(requestedHostId=own.id)
    await platform.eventually(lambda: len(ward.votes(record)) == 2)
    checker = await ward.checker(other)
    await ward.report(checker, record, "UP")
    model = platform.hosting.simulated.model(other["agentId"])

    model.connected = False
    await platform.eventually(lambda: set(ward.votes(record)) == {own.id})
    model.connected = True
    changes = platform.store.changes()
    agent = await platform.until("agent", other["agentId"], "disconnected")
    platform.context.engine.schedule(changes, "agent.reconnect", agent)
    await platform.store.commit(changes)

    await platform.eventually(lambda: set(ward.votes(record)) == {own.id, other.id})
    assert ward.votes(record)[other.id] == "initializing"


async def test_a_removed_host_is_replaced(platform: Platform, ward: Ward) -> None:
    hosts = [await platform.create_host() for _ in range(4)]
    record = await ward.container(requestedHostId=hosts[0].id)
    await platform.eventually(lambda: len(ward.votes(record)) == 3)
    gone = next(each for each in ward.votes(record) if each != hosts[0].id)

    await platform.schedule("host.deactivate", Record("host", gone, {}))
    await platform.until("host", gone, "inactive")
    await platform.schedule("host.remove", Record("host", gone, {}))

    await platform.eventually(lambda: gone not in ward.votes(record) and len(ward.votes(record)) == 3)


async def test_a_host_that_asks_to_be_left_out_is_left_out(platform: Platform, ward: Ward) -> None:
    own, other = await platform.create_host(), await platform.create_host()
    record = await ward.container(requestedHostId=own.id)
    await platform.eventually(lambda: len(ward.votes(record)) == 2)

    changes = platform.store.changes()
    changes.update(other, {"labels": {SKIP: "skip"}})
    await platform.store.commit(changes)

    await platform.eventually(lambda: set(ward.votes(record)) == {own.id})


async def test_removal_takes_the_rows_along(platform: Platform, ward: Ward) -> None:
    await platform.create_host()
    record = await ward.container()

    await platform.schedule("instance.stop", record, remove=True)
    await platform.until("instance", record.id, "removed")

    async def left() -> bool:
        rows = [
            row
            for name in ("healthcheckInstance", "healthcheckInstanceHostMap")
            for row in await platform.store.find_by(name, instanceId=record.id, removed=None)
        ]
        return not rows

    await platform.eventually(left)
    assert platform.hosting.health.book.get(record.id) is None
