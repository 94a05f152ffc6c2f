"""A stack of several kinds of services: what the Compose files say is what the engines run."""

from collections import Counter

import aiohttp
import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.engines import NAME, SERVICE, STACK, UNIT, UUID, EngineContainer
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

MEMORY = 32 * 1024**2
PORT = 18080


async def deploy_shop(cluster: Cluster) -> None:
    """Five services from two Compose files and one with Rancher's additions."""
    here = await cluster.host_row("host2")
    await cluster.api.update(here, {"labels": {"zone": "east"}})
    services = cluster.write(
        "shop/docker-compose.yml",
        {
            "front": cluster.web(ports=[f"{PORT}:80"], labels={"org.example.tier": "front"}),
            "app": cluster.web(labels={"io.rancher.sidekicks": "logger"}),
            "logger": cluster.shell("echo logging; exec sleep 100000", network_mode="container:app"),
            "cache": {
                "image": cluster.lab.image("lab/redis"),
                "mem_reservation": MEMORY,
                "mem_limit": 2 * MEMORY,
                "environment": {"ROLE": "cache"},
            },
        },
    )
    more = cluster.write(
        "shop/more.yml",
        {
            "everywhere": cluster.shell(labels={"io.rancher.scheduler.global": "true"}),
            "eastern": cluster.shell(labels={"io.rancher.scheduler.affinity:host_label": "zone=east"}),
        },
    )
    scales = cluster.write(
        "shop/rancher-compose.yml",
        {"front": {"scale": 2}, "app": {"scale": 2}, "cache": {"scale": 1}, "eastern": {"scale": 2}},
    )
    await cluster.drover("up", "-d", "-s", "shop", "-f", services, "-f", more, "--rancher-file", scales, timeout=180)


async def get_text(url: str) -> str:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session, session.get(url) as response:
        return (await response.text()).strip()


async def test_the_engines_run_what_the_files_say(cluster: Cluster) -> None:
    await deploy_shop(cluster)
    real = await cluster.until_agreed("shop")
    assert Counter(each.service for each in real) == {
        "shop/front": 2,
        "shop/app": 2,
        "shop/app/logger": 2,
        "shop/cache": 1,
        "shop/everywhere": 3,
        "shop/eastern": 2,
    }
    for each in real:
        assert_made_by_drover(each)

    def of(service: str) -> list[EngineContainer]:
        return [each for each in real if each.service == service]

    assert {each.host for each in of("shop/everywhere")} == {"host1", "host2", "host3"}
    assert {each.host for each in of("shop/eastern")} == {"host2"}
    assert len({each.host for each in of("shop/front")}) == 2, "a host port is free once on a host"

    (cache,) = of("shop/cache")
    assert (cache.host_config["MemoryReservation"], cache.host_config["Memory"]) == (MEMORY, 2 * MEMORY)
    assert "ROLE=cache" in cache.details["Config"]["Env"]

    by_unit = {each.labels[UNIT]: each for each in of("shop/app")}
    for logger in of("shop/app/logger"):
        app = by_unit[logger.labels[UNIT]]
        assert logger.host_config["NetworkMode"] == f"container:{app.id}"
        assert logger.host == app.host

    for front in of("shop/front"):
        assert front.labels["org.example.tier"] == "front"
        assert [each["HostPort"] for each in front.host_config["PortBindings"]["80/tcp"]] == [str(PORT)]
        assert (
            await get_text(f"http://{cluster.host(front.host).address}:{PORT}/") == front.details["Config"]["Hostname"]
        )

    await assert_lists_show_it(cluster)
    # A second run of the same files finds nothing to do.
    await deploy_shop(cluster)
    again = await cluster.until_agreed("shop")
    assert {each.identity for each in again} == {each.identity for each in real}


def assert_made_by_drover(container: EngineContainer) -> None:
    assert container.docker_name == f"r-{container.name}-{container.uuid[:8]}"
    assert container.labels[STACK] == "shop"
    assert {NAME, SERVICE, UNIT, UUID} <= container.labels.keys()
    # Only the server decides what is started again.
    assert container.host_config["RestartPolicy"]["Name"] in ("", "no")


async def assert_lists_show_it(cluster: Cluster) -> None:
    """What a user reads after `up`."""
    rows = {line.split()[2]: line for line in (await cluster.drover("ps")).out.splitlines()[1:]}
    assert rows["shop/front"].count(f":{PORT}") == 2, "an endpoint for each of its two hosts"
    assert [each for each in rows["shop/app"].split() if "/" in each][-1] == "2/2", "sidekicks do not count"
    assert " 3/global " in rows["shop/everywhere"]
    for service in ("front", "cache", "eastern"):
        assert " healthy " in rows[f"shop/{service}"]
    assert "shop" in (await cluster.drover("stacks", "ls")).out
    containers = (await cluster.drover("ps", "-c")).out.splitlines()[1:]
    assert len(containers) == 12
    assert all(" running " in line for line in containers)
    assert '"name": "cache"' in (await cluster.drover("inspect", "shop/cache")).out
    assert (await cluster.drover("wait", "shop")).out.split() == [(await cluster.stack("shop")).id]


async def test_scaling_keeps_the_containers_with_the_lowest_numbers(cluster: Cluster) -> None:
    await cluster.up("scales", {"worker": cluster.shell()})
    (first,) = await cluster.until_running("scales/worker", 1)

    await cluster.drover("scale", "-w", "scales/worker=10")
    ten = await cluster.until_running("scales/worker", 10)
    assert [each.index for each in ten] == list(range(1, 11))
    assert ten[0].identity == first.identity, "scaling up touches nothing that runs"
    assert max(Counter(each.host for each in ten).values()) <= 4, "spread over three hosts"
    await cluster.until_agreed("scales")

    await cluster.drover("scale", "-w", "scales/worker=3")
    three = await cluster.until_running("scales/worker", 3)
    assert [each.identity for each in three] == [each.identity for each in ten[:3]]
    await cluster.until_agreed("scales")


async def test_removing_a_stack_leaves_nothing(cluster: Cluster) -> None:
    await cluster.up("gone", {"a": cluster.shell(), "b": cluster.web(ports=["18081:80"])}, {"a": 3})
    assert len(await cluster.until_agreed("gone")) == 4
    await cluster.drover("rm", "--type", "stack", "-y", "-w", "gone")
    await eventually(lambda: cluster.on_engines("gone"), lambda found: not found, what="no container is left")
    # The port is free again.
    await cluster.up("gone", {"b": cluster.web(ports=["18081:80"])}, {"b": 3})
    assert len(await cluster.until_agreed("gone")) == 3
