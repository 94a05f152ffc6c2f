"""Encrypted tunnels between three hosts made of namespaces: the real program and a real charon in each router's."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from drover.host.network.routers.associations import Association, read_associations
from drover.host.network.routers.connections import Datapath, Ends, Form, Timing, agreed_form, connection
from drover.host.network.routers.vici_client import CharonRefused, connect

from .underlay import (
    FABRIC_ADDRESS,
    Node,
    Underlay,
    WorldStream,
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
    pytest.mark.skipif(not Path("/usr/lib/ipsec/charon").exists(), reason="strongSwan's charon is not installed"),
]

KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
MARK = b"drover-was-here-in-clear-text"


@pytest.fixture
def hosts() -> Iterator[Underlay]:
    with underlay(3, published=(500, 4500), container_mtu=1350) as made:
        yield made


def start(hosts: Underlay, node: Node, folder: Path, *flags: str, **variables: str) -> subprocess.Popen[bytes]:
    command = ("ipsec", "--metadata-url", f"http://{FABRIC_ADDRESS}/{node.uuid}", "--verify-interval", "5", *flags)
    return hosts.start(
        node,
        *command,
        *("--state-dir", str(folder / node.uuid), "--status-listen", "127.0.0.1:8111", "--datapath", "userland"),
        log=folder / f"{node.uuid}.log",
        environment={"RANCHER_IPSEC_PSK": KEY} | variables,
    )


@asynccontextmanager
async def routed(hosts: Underlay, folder: Path, *flags: str) -> AsyncIterator[WorldStream]:
    world = WorldStream(environment(hosts.nodes))
    async with world.serve(hosts.fabric):
        for node in hosts.nodes:
            start(hosts, node, folder, *flags)
        await all_reach_all(hosts)
        yield world


async def all_reach_all(hosts: Underlay) -> None:
    for one in hosts.nodes:
        for other in hosts.nodes:
            if one is not other:
                await eventually(
                    lambda one=one, other=other: pings(one.container, other.container_ip),
                    f"{one.container_ip} reaches {other.container_ip}",
                )


@contextlib.contextmanager
def captured(hosts: Underlay) -> Iterator[list[bytes]]:
    """Every frame that passes the fabric."""
    frames: list[bytes] = []
    all_protocols = socket.htons(3)
    tap = inside(hosts.fabric, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, all_protocols))
    tap.settimeout(0.2)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                frames.append(tap.recv(65536))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield frames
    finally:
        stop.set()
        thread.join()
        tap.close()


def udp_ports(frame: bytes) -> tuple[int, int] | None:
    if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return None
    at = 14 + (frame[14] & 15) * 4
    return int.from_bytes(frame[at : at + 2], "big"), int.from_bytes(frame[at + 2 : at + 4], "big")


async def test_traffic_between_hosts_is_encrypted_and_intact(hosts: Underlay, tmp_path: Path) -> None:
    data = MARK + os.urandom(10 * 1024 * 1024) + MARK
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        for source, target in ((first, second), (second, first)):
            with captured(hosts) as frames:
                received = await transfer(source.container, target.container, target.container_ip, data)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
            assert not any(MARK in frame for frame in frames), "the data could be read on its way"
            ports = [udp_ports(frame) for frame in frames]
            assert sum(1 for each in ports if each and 4500 in each) > 1000, "it went as ESP in UDP"
            assert not any(each and 4789 in each for each in ports)
        # A host reaches containers of others, and a container the peers' routers.
        assert pings(first.host, second.container_ip)
        assert pings(first.container, second.router_ip)
        assert pings(first.container, second.container_ip, size=1350)


async def test_without_a_tunnel_nothing_leaves_in_the_clear(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        for program in hosts.programs:
            program.kill()
            program.wait(timeout=60)
        charon = charon_of(second)
        os.kill(charon, signal.SIGTERM)
        await eventually(lambda: not pings(first.container, second.container_ip), "the tunnel is down")
        with captured(hosts) as frames:
            assert not pings(first.container, second.container_ip)
        assert not any((ports := udp_ports(frame)) and 4789 in ports for frame in frames)


async def is_lost(namespace: str, address: str) -> bool:
    """Whether a packet or its answer is lost; a machine that is busy is only slow."""
    return not await asyncio.to_thread(pings, namespace, address, seconds=5)


def programs_in(node: Node) -> dict[int, str]:
    """The processes of a router's namespace and their names, without what they have just started."""
    found: dict[int, str] = {}
    for pid in node.in_host("ip", "netns", "pids", node.router).split():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith(("python", "charon", "drover")):
                found[int(pid)] = name
    return found


def charon_of(node: Node) -> int:
    return next(pid for pid, name in programs_in(node).items() if name == "charon")


async def test_the_controllers_death_is_not_noticed(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        charon = charon_of(first)
        lost = 0
        controller = hosts.programs[0]
        assert controller.pid in programs_in(first)
        controller.kill()
        controller.wait(timeout=60)
        for _ in range(10):
            lost += await is_lost(first.container, second.container_ip)
        start(hosts, first, tmp_path)
        log = tmp_path / f"{first.uuid}.log"
        async with asyncio.timeout(60):
            while "key.loaded" not in log.read_text().partition("charon.adopted")[2]:
                lost += await is_lost(first.container, second.container_ip)
        for _ in range(10):
            lost += await is_lost(first.container, second.container_ip)
        assert lost == 0
        assert charon_of(first) == charon, "the new controller has adopted the charon"


async def test_a_router_that_comes_back_replaces_its_tunnels(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        for number, node in enumerate((first, second)):
            program = hosts.programs[number]
            program.kill()
            os.kill(charon_of(node), signal.SIGKILL)
            program.wait(timeout=60)
            start(hosts, node, tmp_path)
            hosts.programs[number] = hosts.programs.pop()
            await eventually(lambda: pings(first.container, second.container_ip), "the tunnel is back")
            await eventually(lambda: pings(second.container, first.container_ip), "both ways")


async def test_a_host_that_vanishes_has_no_tunnel(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path) as world:
        first, second, third = hosts.nodes
        world.put(gone=tuple(third.objects()))

        def sockets_say() -> str:
            return (tmp_path / f"{first.uuid}.log").read_text()

        await eventually(lambda: "tunnel.removed" in sockets_say(), "the tunnel is removed")
        await eventually(lambda: not pings(first.container, third.container_ip), "and leads nowhere")
        assert pings(first.container, second.container_ip)


class KeyServer:
    """What the server tells routers: the bare key to the original's, all that are valid to ours."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == aiohttp.encode_basic_auth("agent", "secret")
        self.asked += 1
        return web.json_response({"keys": list(self.keys), "refresh_seconds": 1})

    async def acknowledge(self, request: web.Request) -> web.Response:
        assert request.query["version"] == "latest"
        return web.Response()

    def routes(self) -> tuple[web.RouteDef, ...]:
        path = "/v1/configcontent/psk"
        return (web.get(path, self.answer), web.put(path, self.acknowledge))


FROM_SERVER = {
    "RANCHER_IPSEC_PSK": "",
    "CATTLE_URL": f"http://{FABRIC_ADDRESS}/v1",
    "CATTLE_ACCESS_KEY": "agent",
    "CATTLE_SECRET_KEY": "secret",
}


async def test_keys_are_exchanged_without_a_break(hosts: Underlay, tmp_path: Path) -> None:
    world = WorldStream(environment(hosts.nodes))
    server = KeyServer("old-key")
    async with world.serve(hosts.fabric, *server.routes()):
        for node in hosts.nodes:
            start(hosts, node, tmp_path, **FROM_SERVER)
        await all_reach_all(hosts)
        lost = 0
        first, second, third = hosts.nodes
        for keys in (("old-key", "new-key"), ("new-key", "old-key"), ("new-key",)):
            server.keys = keys
            for _ in range(25):
                for other in (second, third):
                    lost += await is_lost(first.container, other.container_ip)
                    lost += await is_lost(other.container, first.container_ip)
                await asyncio.sleep(0.1)
        assert lost == 0
        for node in hosts.nodes:
            log = (tmp_path / f"{node.uuid}.log").read_text()
            assert "tunnel.renewed" in log or node is third, "tunnels rest on the new key"
        # Whoever comes now with the old key alone is refused.
        hosts.programs[0].kill()
        os.kill(charon_of(first), signal.SIGKILL)
        hosts.programs[0].wait(timeout=60)
        (tmp_path / first.uuid / "keys.json").unlink()
        start(hosts, first, tmp_path, RANCHER_IPSEC_PSK="old-key")
        await eventually(
            lambda: "AUTHENTICATION_FAILED" in (tmp_path / f"{first.uuid}.log").read_text(), "the old key is refused"
        )


async def test_a_wrong_key_is_read_again(hosts: Underlay, tmp_path: Path) -> None:
    world = WorldStream(environment(hosts.nodes))
    wrong, right = KeyServer("wrong-key"), KeyServer("right-key")
    first, *others = hosts.nodes
    path = "/other/configcontent/psk"
    routes = (*right.routes(), web.get(path, wrong.answer), web.put(path, wrong.acknowledge))
    async with world.serve(hosts.fabric, *routes):
        start(hosts, first, tmp_path, **{**FROM_SERVER, "CATTLE_URL": f"http://{FABRIC_ADDRESS}/other"})
        for node in others:
            start(hosts, node, tmp_path, **FROM_SERVER)
        await eventually(lambda: "tunnel.failed" in (tmp_path / f"{first.uuid}.log").read_text(), "it fails")
        wrong.keys = ("right-key",)
        await all_reach_all(hosts)


async def test_renewing_keys_loses_nothing(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        lost = 0
        name = f"conn-{second.address}"
        async with connect(tmp_path / first.uuid / "charon.vici") as vici:

            async def standing() -> Association:
                (association,) = read_associations(await vici.stream("list-sas", "list-sa", {"ike": name}))[name]
                return association

            before = await standing()
            for _ in range(4):
                for what in ("child", "ike"):
                    number = (await standing()).children[0].number
                    # A renewal that is still under way has changed the number meanwhile; then one is going on anyway.
                    with contextlib.suppress(CharonRefused):
                        await vici.request("rekey", {"child-id": number} if what == "child" else {"ike": name})
                    for _ in range(10):
                        lost += await is_lost(first.container, second.container_ip)
                        lost += await is_lost(second.container, first.container_ip)
            after = await standing()
        assert lost == 0
        assert int(after.number) >= int(before.number) + 3
        assert int(after.children[0].number) >= int(before.children[0].number) + 3


async def test_in_a_container_the_keeper_starts_the_controller_again(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path, "--keep"):
        first, second, _ = hosts.nodes
        charon = charon_of(first)
        (controller,) = (pid for pid in programs_in(first) if pid not in (charon, hosts.programs[0].pid))
        os.kill(controller, signal.SIGKILL)
        log = tmp_path / f"{first.uuid}.log"
        await eventually(lambda: "charon.adopted" in log.read_text(), "the next controller has adopted the charon")
        assert charon_of(first) == charon
        assert pings(first.container, second.container_ip)
        hosts.programs[0].terminate()
        assert await asyncio.to_thread(hosts.programs[0].wait, 10) == 0
        assert set(programs_in(first)) == {charon}, "the tunnels stay"
        assert pings(first.container, second.container_ip)


async def test_a_tunnel_that_carries_nothing_back_is_made_anew_alone(hosts: Underlay, tmp_path: Path) -> None:
    async with routed(hosts, tmp_path):
        first, second, third = hosts.nodes
        log = tmp_path / f"{first.uuid}.log"
        drop = ("INPUT", "-i", "ipsec0", "-j", "DROP")
        second.in_router("iptables", "-I", *drop)

        def noticed() -> bool:
            pings(first.container, second.container_ip)
            return "tunnel.dead" in log.read_text()

        await eventually(noticed, "the dead tunnel is noticed", seconds=180)
        second.in_router("iptables", "-D", *drop)
        await eventually(lambda: pings(first.container, second.container_ip), "it is back")
        dead = [line for line in log.read_text().splitlines() if "tunnel.dead" in line or "tunnel.down" in line]
        assert all(second.address in line for line in dead), "the other tunnels were left alone"
        assert pings(first.container, third.container_ip)


async def test_a_peer_in_user_space_narrows_what_it_is_offered(hosts: Underlay, tmp_path: Path) -> None:
    """What hosts with kernel ESP rely on: offered everything, the answer is the two routers' addresses."""
    async with routed(hosts, tmp_path):
        first, second, _ = hosts.nodes
        hosts.programs[0].kill()
        hosts.programs[0].wait(timeout=60)
        ends = Ends(first.address, first.router_ip, second.address, second.router_ip)
        message = connection(ends, Datapath.KERNEL, Timing())
        child = message[ends.name]["children"][f"child-{second.address}"]
        del child["policies"], child["reqid"]  # what user space cannot do; it is no part of the exchange
        async with connect(tmp_path / first.uuid / "charon.vici") as vici:
            await vici.request("load-conn", message)
            await vici.stream(
                "initiate",
                "control-log",
                {"ike": ends.name, "child": f"child-{second.address}", "timeout": "20000"},
                timeout=30,
            )
            found = await vici.stream("list-sas", "list-sa", {"ike": ends.name})
        children = [
            each
            for event in found
            for each in event[ends.name]["child-sas"].values()
            if each["name"] == f"child-{second.address}"
        ]
        assert [each["remote-ts"] for each in children] == [[f"{second.router_ip}/32"]]
        assert agreed_form(children[0]) is Form.TUNNEL
