"""What containers notice when keys are renewed, and when the programs of a router die and come back: counted."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drover.host.network.routers.vici_client import connect

from .flood import flood
from .test_ipsec import FROM_SERVER, KeyServer, charon_of, programs_in, routed, start
from .underlay import Node, Underlay, WorldStream, environment, eventually, pings, transfer, underlay

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not Path("/usr/lib/ipsec/charon").exists(), reason="strongSwan's charon is not installed"),
]

RATE = 200.0
EXCHANGES = 3


@pytest.fixture
def hosts() -> Iterator[Underlay]:
    with underlay(2, published=(500, 4500), container_mtu=1350) as made:
        yield made


async def child_number(socket: Path) -> int:
    """The highest number of an ESP association so far."""
    async with connect(socket) as vici:
        events = await vici.stream("list-sas", "list-sa")
    return max(
        int(child["uniqueid"]) for event in events for sa in event.values() for child in sa["child-sas"].values()
    )


async def test_no_packet_is_lost_while_keys_are_renewed_all_the_time(hosts: Underlay, tmp_path: Path) -> None:
    """Both kinds of renewal every few seconds, under datagrams both ways; then under large transfers."""
    changes = tmp_path / "changes"
    changes.mkdir()
    # The spread of the times is a tenth of them, which is nothing here; hard ends are far away, as they are in hours.
    (changes / "childsa.conf").write_text(json.dumps({"life_time": "600s", "rand_time": "1s"}))
    (changes / "ike.conf").write_text(json.dumps({"over_time": "600s", "rand_time": "1s"}))
    often = ("--child-rekey", "4s", "--ike-rekey", "5s", "--ipsec-config", str(changes))
    async with routed(hosts, tmp_path, *often):
        first, second = hosts.nodes
        socket = tmp_path / first.uuid / "charon.vici"
        before = await child_number(socket)
        async with flood((first, second), (second, first), rate=RATE) as floods:
            await renewed(socket, before + 5)
        assert [each.lost for each in floods] == [[], []]
        # Alone: what a tunnel in user space can take is soon exceeded, and that is not the question here.
        data = os.urandom(1024 * 1024)
        while await child_number(socket) < before + 8:
            received = await transfer(first.container, second.container, second.container_ip, data)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


async def test_no_packet_is_lost_while_the_pre_shared_key_is_exchanged(hosts: Underlay, tmp_path: Path) -> None:
    """Again and again, as one exchange has one critical moment a tunnel."""
    world, server = WorldStream(environment(hosts.nodes)), KeyServer("key-0")
    first, second = hosts.nodes
    log = tmp_path / f"{first.uuid}.log"
    async with world.serve(hosts.fabric, *server.routes()):
        for node in hosts.nodes:
            start(hosts, node, tmp_path, "--key-interval", "1", **FROM_SERVER)
        await eventually(lambda: pings(first.container, second.container_ip), "hosts are joined")
        async with flood((first, second), (second, first), rate=RATE) as floods:
            for number in range(1, EXCHANGES + 1):
                old, new = f"key-{number - 1}", f"key-{number}"
                for server.keys in ((old, new), (new, old)):
                    await asyncio.sleep(2.5)
                await eventually(
                    lambda number=number: log.read_text().count("tunnel.renewed") == number, "the tunnel is renewed"
                )
                await asyncio.sleep(2.5)
        assert [each.lost for each in floods] == [[], []]
        async with connect(tmp_path / first.uuid / "charon.vici") as vici:
            (association,) = await vici.stream("list-sas", "list-sa")
        assert len(association[f"conn-{second.address}"]["child-sas"]) == 1, "nothing is left of the old ones"
        rules = first.in_router("iptables-save", "-t", "mangle")
        assert "NFQUEUE" not in rules


async def renewed(socket: Path, number: int) -> None:
    async with asyncio.timeout(300):
        while await child_number(socket) < number:
            await asyncio.sleep(1)


def start_charon(hosts: Underlay, node: Node, folder: Path) -> subprocess.Popen[bytes]:
    flags = ("--charon-dir", str(folder / f"charon-{node.number}"), "--datapath", "userland")
    return hosts.start(node, "charon", *flags, log=folder / f"charon-{node.number}.log")


def start_apart(hosts: Underlay, node: Node, folder: Path) -> subprocess.Popen[bytes]:
    return start(hosts, node, folder, "--charon-dir", str(folder / f"charon-{node.number}"))


async def test_whoever_controls_charon_may_come_and_go(hosts: Underlay, tmp_path: Path) -> None:
    world = WorldStream(environment(hosts.nodes))
    first, second = hosts.nodes
    async with world.serve(hosts.fabric):
        for node in hosts.nodes:
            start_charon(hosts, node, tmp_path)
        controllers = {node.number: start_apart(hosts, node, tmp_path) for node in hosts.nodes}
        await eventually(lambda: pings(first.container, second.container_ip), "hosts are joined")
        charons = [charon_of(node) for node in hosts.nodes]
        async with flood((first, second), (second, first), rate=RATE) as floods:
            for node in hosts.nodes:
                controllers[node.number].kill()
                controllers[node.number].wait(timeout=60)
            await asyncio.sleep(2)
            for node in hosts.nodes:
                start_apart(hosts, node, tmp_path)
            for node in hosts.nodes:
                log = tmp_path / f"{node.uuid}.log"
                await eventually(
                    lambda log=log: "key.loaded" in log.read_text().rpartition("charon.adopted")[2], "it is adopted"
                )
            await asyncio.sleep(1)
        assert [each.lost for each in floods] == [[], []]
        assert [charon_of(node) for node in hosts.nodes] == charons


@pytest.mark.parametrize("which", [0, 1], ids=["the one that initiates", "the one that answers"])
async def test_when_charon_dies_its_tunnels_are_made_again(hosts: Underlay, tmp_path: Path, which: int) -> None:
    world = WorldStream(environment(hosts.nodes))
    first, second = hosts.nodes
    async with world.serve(hosts.fabric):
        for node in hosts.nodes:
            start_charon(hosts, node, tmp_path)
            start_apart(hosts, node, tmp_path)
        await eventually(lambda: pings(first.container, second.container_ip), "hosts are joined")
        node = hosts.nodes[which]
        async with flood((first, second), (second, first), rate=50) as floods:
            await asyncio.sleep(0.5)
            os.kill(charon_of(node), signal.SIGKILL)
            start_charon(hosts, node, tmp_path)
            began = time.monotonic()
            await eventually(
                lambda: (
                    pings(first.container, second.container_ip, seconds=0.3)
                    and pings(second.container, first.container_ip, seconds=0.3)
                ),
                "the tunnel is back",
            )
            print(f"back {time.monotonic() - began:.1f} s after charon's return")
            await asyncio.sleep(1)
        assert all(each.received[-1][0] > len(each.sent) - 10 for each in floods), "both ways"


async def test_charon_moves_out_of_an_older_router(hosts: Underlay, tmp_path: Path) -> None:
    """What an upgrade does: the router that started charon itself ends, and its charon with its container."""
    async with routed(hosts, tmp_path):
        first, second = hosts.nodes
        apart = start_charon(hosts, first, tmp_path)
        log = tmp_path / f"charon-{first.number}.log"
        await eventually(lambda: "charon.waiting" in log.read_text(), "it waits for the ports")
        assert pings(first.container, second.container_ip)
        old = charon_of(first)
        hosts.programs[0].kill()
        hosts.programs[0].wait(timeout=60)
        os.kill(old, signal.SIGTERM)
        start_apart(hosts, first, tmp_path)
        await eventually(lambda: pings(first.container, second.container_ip), "the tunnel is back")
        assert charon_of(first) != old
        assert apart.poll() is None
        assert charon_of(first) in programs_in(first)


async def test_a_running_charon_takes_another_configuration(hosts: Underlay, tmp_path: Path) -> None:
    world = WorldStream(environment(hosts.nodes))
    first, second = hosts.nodes
    async with world.serve(hosts.fabric):
        for node in hosts.nodes:
            start_charon(hosts, node, tmp_path)
        controllers = [start_apart(hosts, node, tmp_path) for node in hosts.nodes]
        await eventually(lambda: pings(first.container, second.container_ip), "hosts are joined")
        charon, log = charon_of(first), tmp_path / f"charon-{first.number}.log"
        async with flood((first, second), (second, first), rate=RATE) as floods:
            controllers[0].kill()
            controllers[0].wait(timeout=60)
            flags = ("--charon-dir", str(tmp_path / f"charon-{first.number}"))
            start(hosts, first, tmp_path, *flags, RANCHER_DEBUG="true")
            await eventually(lambda: "[JOB]" in log.read_text(), "it says more now")
        assert charon_of(first) == charon
        assert [each.lost for each in floods] == [[], []]
