"""Hosts made of network namespaces: a fabric that joins them, on each a bridge with a router and a container.

What the network manager does on a real host is done here by hand: the bridge with the gateway address, masquerading
of what leaves the bridge, and the published ports of the router.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from drover.client.world import (
    Change,
    Container,
    Environment,
    Full,
    Host,
    Key,
    Membership,
    Network,
    Service,
    Stack,
    encode_frame,
)
from drover.client.world.objects import Object
from drover.client.world.world import kind_of

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[4]
FABRIC_ADDRESS = "192.0.2.254"
# A /run of its own, /proc/sys read-only, and the capabilities that Docker grants besides NET_ADMIN.
CONFINE = """
mount -t tmpfs none /run
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
exec setpriv --inh-caps=-all --bounding-set=-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,\
+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap,+net_admin "$@"
"""
SERVICE = "service-router"
NETWORK = "network-managed"
_libc = ctypes.CDLL(None, use_errno=True)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run work in a thread that has entered a named network namespace; sockets made there stay there."""
    results: list[T] = []
    errors: list[BaseException] = []

    def enter() -> None:
        handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(handle, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            os.close(handle)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def inside_command(namespace: str, *command: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace, *command)


def sh(*command: str, stdin: str = "", check: bool = True) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class Node:
    """One host: its own namespace, its router's and its container's."""

    number: int
    tag: str

    @property
    def host(self) -> str:
        return f"{self.tag}-h{self.number}"

    @property
    def router(self) -> str:
        return f"{self.tag}-r{self.number}"

    @property
    def container(self) -> str:
        return f"{self.tag}-c{self.number}"

    @property
    def uuid(self) -> str:
        return f"host-{self.number}"

    @property
    def address(self) -> str:
        return f"192.0.2.{10 + self.number}"

    @property
    def router_ip(self) -> str:
        return f"10.42.{self.number}.2"

    @property
    def container_ip(self) -> str:
        return f"10.42.{self.number}.10"

    def in_host(self, *command: str, check: bool = True) -> str:
        return sh("ip", "netns", "exec", self.host, *command, check=check)

    def in_router(self, *command: str, check: bool = True) -> str:
        return sh("ip", "netns", "exec", self.router, *command, check=check)

    def objects(self) -> list[Object]:
        return [
            Host(uuid=self.uuid, name=self.host, agent_ip=self.address, state="active", environment_uuid="env"),
            self.router_container(),
            container(f"user-{self.number}", self, self.container_ip),
        ]

    def router_container(self, state: str = "running") -> Container:
        return Container(
            uuid=f"router-{self.number}",
            state=state,
            host_uuid=self.uuid,
            primary_ip=self.router_ip,
            network_uuid=NETWORK,
            environment_uuid="env",
            system=True,
            memberships=(Membership(SERVICE, "router"),),
        )


def container(uuid: str, node: Node, ip: str, state: str = "running") -> Container:
    return Container(uuid=uuid, state=state, host_uuid=node.uuid, primary_ip=ip, network_uuid=NETWORK)


@dataclass
class Underlay:
    """The hosts and what is running in them."""

    tag: str
    nodes: list[Node]
    published: tuple[int, ...]
    container_mtu: int
    programs: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def fabric(self) -> str:
        return f"{self.tag}-f"

    def up(self) -> None:
        sh("ip", "netns", "add", self.fabric)
        sh("ip", "-n", self.fabric, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", self.fabric, "address", "add", f"{FABRIC_ADDRESS}/24", "dev", "br0")
        sh("ip", "-n", self.fabric, "link", "set", "br0", "up")
        sh("ip", "-n", self.fabric, "link", "set", "lo", "up")
        for node in self.nodes:
            self._make(node)

    def _make(self, node: Node) -> None:
        for name in (node.host, node.router, node.container):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        self._wire(self.fabric, f"h{node.number}", node.host, "eth0", f"{node.address}/24", 1500)
        sh("ip", "-n", self.fabric, "link", "set", f"h{node.number}", "master", "br0")
        sh("ip", "-n", node.host, "link", "add", "docker0", "type", "bridge")
        sh("ip", "-n", node.host, "address", "add", "10.42.0.1/16", "dev", "docker0")
        sh("ip", "-n", node.host, "link", "set", "docker0", "up")
        node.in_host("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for name, address, port, mtu in (
            (node.router, node.router_ip, "router", 1500),
            (node.container, node.container_ip, "user", self.container_mtu),
        ):
            # As in a container, the kernel's own default is all that is known of forwarding.
            sh("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv4.ip_forward=0")
            self._wire(node.host, port, name, "eth0", f"{address}/16", mtu)
            sh("ip", "-n", node.host, "link", "set", port, "master", "docker0")
            sh("ip", "-n", name, "route", "add", "default", "via", "10.42.0.1")
        rules = ["*nat"]
        rules += [
            f"-A PREROUTING ! -i docker0 -p udp -m addrtype --dst-type LOCAL -m udp --dport {port}"
            f" -j DNAT --to-destination {node.router_ip}:{port}"
            for port in self.published
        ]
        for protocol in ("tcp", "udp"):
            rules.append(
                f"-A POSTROUTING -s 10.42.0.0/16 ! -o docker0 -p {protocol} -j MASQUERADE --to-ports 1024-65535"
            )
        rules += ["-A POSTROUTING -s 10.42.0.0/16 ! -o docker0 -j MASQUERADE", "COMMIT", ""]
        sh("ip", "netns", "exec", node.host, "iptables-restore", "--noflush", stdin="\n".join(rules))

    @staticmethod
    def _wire(near: str, near_name: str, far: str, far_name: str, address: str, mtu: int) -> None:
        # Only the container's end is smaller, or the bridge would be too, and would cut what arrives for the router.
        pair = ("peer", "name", far_name, "netns", far, "mtu", str(mtu))
        sh("ip", "-n", near, "link", "add", near_name, "mtu", "1500", "type", "veth", *pair)
        sh("ip", "-n", far, "address", "add", address, "dev", far_name)
        sh("ip", "-n", far, "link", "set", far_name, "up")
        sh("ip", "-n", near, "link", "set", near_name, "up")

    def start(
        self, node: Node, *command: str, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run a `drover` program in a router's namespace, as confined as in a container with NET_ADMIN."""
        output = log.open("ab") if log else subprocess.DEVNULL
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", node.router, "sh", "-ec", CONFINE, "drover"),
                *(sys.executable, "-m", "drover", *command),
            ],
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        self.programs.append(process)
        return process

    def down(self) -> None:
        for process in self.programs:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=60)
        for node in self.nodes:
            for name in (node.router, node.container, node.host):
                for pid in sh("ip", "netns", "pids", name, check=False).split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                sh("ip", "netns", "del", name, check=False)
        sh("ip", "netns", "del", self.fabric, check=False)


@contextlib.contextmanager
def underlay(hosts: int, *, published: tuple[int, ...], container_mtu: int) -> Iterator[Underlay]:
    """Hosts that are gone afterwards, whatever happened."""
    tag = f"drvt-{secrets.token_hex(2)}"
    made = Underlay(tag, [Node(number, tag) for number in range(1, hosts + 1)], published, container_mtu)
    try:
        made.up()
        yield made
    finally:
        made.down()


class WorldStream:
    """A metadata service for all hosts: the path's first part says which host asks."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = {Key(kind_of(each), each.key): each for each in objects}
        self.revision = 1
        self._waiting: set[asyncio.Queue[bytes | None]] = set()

    def put(self, *changed: Object, gone: tuple[Object, ...] = ()) -> None:
        since, self.revision = self.revision, self.revision + 1
        for each in changed:
            self.objects[Key(kind_of(each), each.key)] = each
        keys = tuple(Key(kind_of(each), each.key) for each in gone)
        for key in keys:
            self.objects.pop(key)
        line = encode_frame(Change("test", since, self.revision, changed, keys)) + b"\n"
        for queue in self._waiting:
            queue.put_nowait(line)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        full = Full("test", self.revision, tuple(self.objects.values()), request.match_info["host"])
        queue.put_nowait(encode_frame(full) + b"\n")
        self._waiting.add(queue)
        try:
            while (line := await queue.get()) is not None:
                await answer.write(line)
        finally:
            self._waiting.discard(queue)
        return answer

    @contextlib.asynccontextmanager
    async def serve(self, namespace: str, *more: web.RouteDef) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_routes(more)
        app.router.add_get("/{host}/drover/1/world", self._stream)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listening = inside(namespace, lambda: socket.create_server((FABRIC_ADDRESS, 80)))
        await web.SockSite(runner, listening).start()
        try:
            yield
        finally:
            for queue in self._waiting:
                queue.put_nowait(None)
            await runner.cleanup()


def environment(nodes: list[Node]) -> list[Object]:
    """The world of these hosts."""
    config = {"10-rancher.conf": {"type": "rancher-bridge", "bridge": "docker0", "bridgeSubnet": "10.42.0.0/16"}}
    return [
        Environment(uuid="env", name="Default"),
        Network(uuid=NETWORK, name="managed", environment_uuid="env", metadata={"cniConfig": config}),
        Stack(uuid="stack", name="network", environment_uuid="env", system=True),
        Service(uuid=SERVICE, name="router", stack_uuid="stack", state="active", system=True),
        *(each for node in nodes for each in node.objects()),
    ]


async def eventually(probe: Callable[[], object], what: str, *, seconds: float = 180.0, pause: float = 0.1) -> None:
    """Wait until a probe, run in a thread, is true."""
    try:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(probe):
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


def pings(namespace: str, address: str, *, size: int = 28, seconds: float = 1.0) -> bool:
    """Whether an echo request of `size` bytes (with its headers), which may not be fragmented, is answered in time."""
    ip_mtu_discover, never_fragment = 10, 2
    with inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)) as echo:
        echo.settimeout(seconds)
        echo.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, never_fragment)
        mark = secrets.token_bytes(2)
        request = b"\x08\x00\x00\x00" + mark + b"\x00\x01" + bytes(size - 28)
        request = request[:2] + struct.pack("!H", _internet_checksum(request)) + request[4:]
        try:
            echo.sendto(request, (address, 0))
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                packet = echo.recv(65536)
                if packet[20] == 0 and packet[24:26] == mark:
                    return True
        except OSError:
            return False
    return False


def _internet_checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


async def transfer(source: str, target: str, address: str, data: bytes, *, port: int = 5001) -> bytes:
    """What arrives at the target's namespace when data is sent there over TCP."""
    server = inside(target, lambda: socket.create_server((address, port)))
    received = bytearray()
    done = asyncio.Event()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 18):
            received.extend(chunk)
        writer.close()
        done.set()

    async with await asyncio.start_server(receive, sock=server):
        client = await asyncio.to_thread(inside, source, lambda: socket.create_connection((address, port), timeout=60))
        _, writer = await asyncio.open_connection(sock=client)
        writer.write(data)
        await writer.drain()
        writer.close()
        await asyncio.wait_for(done.wait(), 60)
    return bytes(received)
