"""The server is killed in the middle of a deployment and started again: the deployment completes, once."""

import asyncio
from collections import Counter

import pytest

from tests.e2e.cluster import Cluster

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

WORKERS = 12


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.15, 0.5])
async def test_a_deployment_survives_the_death_of_the_server(cluster: Cluster, seconds: float) -> None:
    services = {
        "worker": cluster.shell(),
        "app": cluster.web(labels={"io.rancher.sidekicks": "logger"}),
        "logger": cluster.shell(network_mode="container:app"),
        "everywhere": cluster.shell(labels={"io.rancher.scheduler.global": "true"}),
    }
    client = await cluster.drover.start(*cluster.up_arguments("tough", services, {"worker": WORKERS, "app": 2}))
    try:
        await activation_began(cluster)
        await asyncio.sleep(seconds)
        await cluster.lab.kill_server()
        at_the_kill = len(await cluster.on_engines("tough"))
        await cluster.lab.start_server()
        output, _ = await asyncio.wait_for(client.communicate(), 120)
    finally:
        if client.returncode is None:
            client.kill()
    print(f"killed {seconds} s after the activation began, with {at_the_kill} containers on the engines", end="; ")
    print(f"`drover up` ended with {client.returncode}")
    if client.returncode != 0:
        # A request of it met the closed door. Said again, it asks only for what is missing.
        assert "cannot reach" in output.decode(), output.decode()
        await cluster.up("tough", services, {"worker": WORKERS, "app": 2})
    real = await cluster.until_agreed("tough", timeout=180)
    assert Counter(each.service for each in real) == {
        "tough/worker": WORKERS,
        "tough/app": 2,
        "tough/app/logger": 2,
        "tough/everywhere": 3,
    }
    addresses = [(each.text("hostId"), each.text("primaryIpAddress")) for each in await cluster.known("tough")]
    assert_unique([address for address in addresses if address[1]])


def assert_unique(values: list[tuple[str, str]]) -> None:
    assert values
    assert max(Counter(values).values()) == 1, values


async def activation_began(cluster: Cluster) -> None:
    """Return when the first service of the stack leaves the state that it was created in."""
    async with asyncio.timeout(60):
        while True:
            stack = await cluster.api.find("stack", {"name": "tough", "removed_null": 1})
            if stack is not None:
                services = await cluster.api.list("service", {"stackId": stack.id})
                if any(each.state in ("activating", "active") for each in services):
                    return
            await asyncio.sleep(0.02)


async def test_a_server_that_was_away_learns_what_happened(cluster: Cluster) -> None:
    await cluster.up("away", {"web": cluster.web()}, {"web": 6})
    before = await cluster.until_running("away/web", 6)
    await cluster.lab.kill_server()
    killed, removed = before[0], before[3]
    await cluster.engines.kill(killed)
    await cluster.engines.remove(removed)
    await cluster.lab.start_server()
    after = await cluster.until_agreed("away", timeout=180)
    assert [each.index for each in sorted(after, key=lambda each: each.index)] == [1, 2, 3, 4, 5, 6]
    unchanged = {each.identity for each in before if each not in (killed, removed)}
    assert unchanged <= {each.identity for each in after}
