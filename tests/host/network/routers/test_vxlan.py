"""VXLAN between three hosts made of namespaces, with the real program in each router's namespace."""

import hashlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drover.host.network.routers.devices import set_checksum_offload

from .underlay import (
    FABRIC_ADDRESS,
    Underlay,
    WorldStream,
    container,
    environment,
    eventually,
    inside,
    pings,
    transfer,
    underlay,
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.fixture
def hosts() -> Iterator[Underlay]:
    with underlay(3, published=(4789,), container_mtu=1450) as made:
        yield made


@asynccontextmanager
async def routed(hosts: Underlay, logs: Path) -> AsyncIterator[WorldStream]:
    world = WorldStream(environment(hosts.nodes))
    async with world.serve(hosts.fabric):
        for node in hosts.nodes:
            start(hosts, node.number, logs)
        first, second, third = hosts.nodes
        for other in (second, third):
            await eventually(lambda other=other: pings(first.container, other.container_ip), "container to container")
        yield world


def start(hosts: Underlay, number: int, logs: Path):
    node = hosts.nodes[number - 1]
    address = f"http://{FABRIC_ADDRESS}/{node.uuid}"
    return hosts.start(node, "vxlan", "--metadata-url", address, log=logs / f"vxlan-{number}.log")


async def test_containers_of_three_hosts_reach_each_other(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        for one in hosts.nodes:
            for other in hosts.nodes:
                if one is not other:
                    await eventually(
                        lambda one=one, other=other: pings(one.container, other.container_ip), "every pair"
                    )
                    # A container may address the peer's router too: that is what health checks do.
                    assert pings(one.container, other.router_ip)
        first, second, _ = hosts.nodes
        # The host itself carries the gateway address, which exists on every host.
        assert pings(first.host, second.container_ip)
        # Full frames pass in one piece, larger ones are answered with the MTU.
        assert pings(first.container, second.container_ip, size=1450)


async def test_ten_megabytes_arrive_intact_in_both_directions(hosts: Underlay, tmp_path: Path) -> None:
    data = os.urandom(10 * 1024 * 1024)
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        for source, target in ((first, second), (second, first)):
            received = await transfer(source.container, target.container, target.container_ip, data)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


async def test_checksums_are_right_where_the_card_computes_none(hosts: Underlay, tmp_path: Path) -> None:
    """Packets leave the router whole and without checksums; whoever cuts them has rewritten their addresses before."""
    data = os.urandom(3 * 1024 * 1024)
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        for node in hosts.nodes:
            inside(node.host, lambda: set_checksum_offload("eth0", on=False))
        received = await transfer(first.container, second.container, second.container_ip, data)
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


async def test_tables_follow_single_containers(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path) as world:
        first, second, third = hosts.nodes
        moved = container("user-2", third, second.container_ip)
        world.put(moved)
        mac = "0e:00:0a:2a:03:02"
        await eventually(
            lambda: mac in first.in_router("ip", "neighbour", "show", second.container_ip), "the address has moved"
        )
        world.put(gone=(moved,))
        await eventually(
            lambda: second.container_ip not in first.in_router("ip", "route", "show", "dev", "vtep1042"),
            "the route of a removed container is gone",
        )
        assert pings(first.container, third.container_ip)


async def test_tables_are_repaired_by_the_program_that_starts(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        program = hosts.programs[0]
        program.send_signal(signal.SIGKILL)
        program.wait(timeout=60)
        assert pings(first.container, second.container_ip), "the kernel goes on without the program"
        first.in_router("ip", "route", "del", f"{second.container_ip}/32", "dev", "vtep1042")
        first.in_router("ip", "route", "add", "10.42.99.99/32", "dev", "vtep1042")
        assert not pings(first.container, second.container_ip)
        start(hosts, 1, tmp_path)
        await eventually(lambda: pings(first.container, second.container_ip), "the route is back")
        assert "10.42.99.99" not in first.in_router("ip", "route", "show")


async def test_an_outage_of_metadata_changes_nothing(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        before = first.in_router("ip", "route", "show", "dev", "vtep1042")
    assert first.in_router("ip", "route", "show", "dev", "vtep1042") == before
    assert pings(first.container, second.container_ip)


async def test_device_and_entries_are_those_of_rancher(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        link = first.in_router("ip", "-details", "link", "show", "vtep1042")
        assert "vxlan id 1042" in link
        assert "dstport 4789 nolearning" in link
        assert "link/ether 0e:00:0a:2a:01:02" in link
        fdb = first.in_router("bridge", "fdb", "show", "dev", "vtep1042")
        assert f"0e:00:0a:2a:02:02 dst {second.address} self permanent" in fdb
        assert "0e:00:0a:2a:02:02 PERMANENT" in first.in_router("ip", "neighbour", "show", second.container_ip)
