"""A server that dies while it creates containers: the next one finishes the work, and does nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from drover.placement import Host
from drover.server.lifecycle import Engine
from drover.server.orchestration.instances.plan import plan_instance
from drover.server.store import Query, Record, Touched
from drover.simulator.model import SimulatedAgent
from tests.server.orchestration.conftest import FAST, Platform, running

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONTAINERS = 200
HOSTS = 4


async def crash(platform: Platform) -> dict[str, SimulatedAgent]:
    """End all processes where they are, as a killed server would; what the hosts run goes on."""
    engine: Engine = platform.context.engine
    engine._stopping = True
    for task in tuple(engine._tasks):
        task.cancel()
    await asyncio.gather(*tuple(engine._tasks), return_exceptions=True)
    simulated = platform.hosting.simulated
    return {model.resource_prefix: model for model in simulated._models.values()}


def survivors(hosts: dict[str, SimulatedAgent]) -> Callable[[Platform], Awaitable[None]]:
    """The hosts did not notice the crash: the new server's simulated agents take over their containers."""

    async def prepare(platform: Platform) -> None:
        models = platform.hosting.simulated._models
        await platform.eventually(lambda: len(models) == HOSTS)
        for model in models.values():
            model.containers = hosts[model.resource_prefix].containers

    return prepare


@pytest.mark.parametrize("seed", range(3))
async def test_every_container_runs_once_with_its_own_address(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    settings = {**FAST, "CATTLE_TASK_AGENT_PING_SCHEDULE": "60"}
    async with running(tmp_path, settings) as platform:
        for _ in range(HOSTS):
            await platform.create_host()
        await platform.start()  # the networks exist, every part is warm
        environment = platform.environment
        await platform.store.ensure_ids("instance", CONTAINERS)
        await platform.store.ensure_ids("processInstance", CONTAINERS)
        changes = platform.store.changes()
        for number in range(CONTAINERS):
            values = {"accountId": environment.id, "imageUuid": "sim:x", "name": f"c{number}"}
            plan_instance(platform.context, changes, values)
        moment = some_way_on(platform, chance.randrange(CONTAINERS * 4))
        await platform.store.commit(changes)
        await moment.wait()
        hosts = await crash(platform)
        assert not await all_run(platform), "the crash came too late to show anything"

    for _ in range(3):
        async with running(tmp_path, settings, environment=environment, prepare=survivors(hosts)) as platform:
            await asyncio.sleep(chance.uniform(0.0, 0.05))
            hosts = await crash(platform)

    async with running(tmp_path, settings, environment=environment, prepare=survivors(hosts)) as platform:
        await platform.eventually(lambda: all_run(platform))
        rows = await platform.store.find(Query("instance"))
        assert len(rows) == CONTAINERS + 1
        assert {row["startCount"] for row in rows} == {1}
        addresses = [row["primaryIpAddress"] for row in rows]
        assert len(set(addresses)) == CONTAINERS + 1
        held = await platform.store.find_by("ipAddress", networkId=rows[0]["primaryNetworkId"], removed=None)
        assert sorted(row["address"] for row in held) == sorted(addresses)
        existing = [uuid for model in platform.hosting.simulated._models.values() for uuid in model.containers]
        assert sorted(existing) == sorted(row.uuid for row in rows)
        await platform.hosting.usage.ready()
        assert_usage(platform, rows)


def some_way_on(platform: Platform, changes: int) -> asyncio.Event:
    """Set once containers have been written this many times: each is written five times on its way to running."""
    reached = asyncio.Event()
    left = changes

    def count(touched: Sequence[Touched]) -> None:
        nonlocal left
        left -= sum(row.type == "instance" for row in touched)
        if left <= 0:
            reached.set()

    platform.store.listen(count)
    return reached


async def all_run(platform: Platform) -> bool:
    rows = await platform.store.find(Query("instance"))
    return all(row.state == "running" for row in rows)


def assert_usage(platform: Platform, rows: list[Record]) -> None:
    """What the allocator believes is what the rows say."""
    believed = {row_id: host.id for host in hosts_of(platform) for row_id in host.containers}
    assert believed == {row.id: row["hostId"] for row in rows}


def hosts_of(platform: Platform) -> list[Host]:
    return list(platform.hosting.usage.hosts(platform.environment.id))
