"""Containers that die or vanish are replaced at once."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.engines import EngineContainer
from tests.e2e.waiting import stays

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


async def event_times(cluster: Cluster, host: str, since: float, until: float) -> list[dict[str, object]]:
    """Docker's own record of what happened on a host, with its own clock."""
    lines = await cluster.host(host).run(
        "docker", "-H", f"unix://{cluster.host(host).docker_socket}", "events", "--format", "{{json .}}",
        f"--since={since:.9f}", f"--until={until:.9f}", "--filter", "type=container",
    )  # fmt: skip
    return [json.loads(line) for line in lines.splitlines()]


async def lose(
    cluster: Cluster, service: str, index: int, how: Callable[[EngineContainer], Awaitable[None]]
) -> tuple[EngineContainer, float]:
    """End one container of a service of three; returns its successor and the seconds from die event to start event."""
    before = await cluster.until_running(service, 3)
    victim = next(each for each in before if each.index == index)
    since = time.time() - 1
    await how(victim)
    deadline = time.monotonic() + 60
    while True:
        after = await cluster.of_service(service)
        current = [each for each in after if each.index == index and each.running and each.identity != victim.identity]
        if current and len(after) == 3:
            break
        assert time.monotonic() < deadline, f"no successor of {victim} among {[str(each) for each in after]}"
        await asyncio.sleep(0.05)
    died = started = 0
    for host in {victim.host, current[0].host}:
        for event in await event_times(cluster, host, since, time.time() + 1):
            actor = str(event.get("id"))
            if actor == victim.id and event["Action"] == "die":
                died = int(str(event["timeNano"]))
            if actor == current[0].id and event["Action"] == "start":
                started = int(str(event["timeNano"]))
    assert died, "Docker told of no death"
    assert started > died, "Docker told of no start after the death"
    others = {each.identity for each in before if each.index != index}
    assert {each.identity for each in after if each.index != index} == others, "nothing else was touched"
    return current[0], (started - died) / 1e9


async def test_a_killed_container_is_replaced(cluster: Cluster) -> None:
    await cluster.up("dies", {"web": cluster.web()}, {"web": 3})
    figures = []
    for index in (1, 2, 3):
        _, seconds = await lose(cluster, "dies/web", index, cluster.engines.kill)
        figures.append(seconds)
    print(f"from Docker's die event to the start event of the successor: {[f'{each:.3f} s' for each in figures]}")
    await cluster.until_agreed("dies")


async def test_a_removed_container_is_replaced_under_its_number(cluster: Cluster) -> None:
    await cluster.up("vanishes", {"web": cluster.web()}, {"web": 3})
    old = {each.index: each for each in await cluster.until_running("vanishes/web", 3)}
    new, seconds = await lose(cluster, "vanishes/web", 2, cluster.engines.remove)
    print(f"from Docker's die event to the start event of the successor: {seconds:.3f} s")
    assert new.id != old[2].id
    await cluster.until_agreed("vanishes")


async def test_a_whole_unit_survives_the_loss_of_a_part(cluster: Cluster) -> None:
    services = {
        "app": cluster.web(labels={"io.rancher.sidekicks": "logger"}),
        "logger": cluster.shell(network_mode="container:app"),
    }
    await cluster.up("pair", services, {"app": 2})
    await cluster.until_agreed("pair")
    app = (await cluster.of_service("pair/app"))[0]
    await cluster.engines.remove(app)
    await cluster.until_running("pair/app", 2)
    real = await cluster.until_agreed("pair")
    by_index = {each.index: each for each in real if each.service == "pair/app"}
    for logger in (each for each in real if each.service == "pair/app/logger"):
        assert logger.host_config["NetworkMode"] == f"container:{by_index[logger.index].id}", "joined to a dead network"


async def test_a_service_that_is_stopped_stays_stopped(cluster: Cluster) -> None:
    await cluster.up("rests", {"web": cluster.web()}, {"web": 2})
    await cluster.until_running("rests/web", 2)
    await cluster.drover("stop", "-w", "rests/web")
    await stays(
        lambda: cluster.of_service("rests/web"),
        lambda found: not any(each.running for each in found),
        what="the containers of a stopped service do not run",
        seconds=2,
    )
    await cluster.drover("start", "-w", "rests/web")
    assert [each.index for each in await cluster.until_running("rests/web", 2)] == [1, 2]
