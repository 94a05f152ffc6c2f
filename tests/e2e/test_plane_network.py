"""Every container has an address and a name that work on every host, and nowhere else."""

import asyncio
import contextlib
import itertools
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from functools import partial

import pytest

from lab import LabHost
from tests.e2e.engines import EngineContainer
from tests.e2e.plane import GLOBAL, Plane
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN", "Cattle"], indirect=True, ids=["vxlan", "ipsec"]),
]

_ADDRESS = re.compile(r"10\.42\.\d+\.\d+")


async def _web_on_every_host(plane: Plane, stack: str = "shop") -> list[EngineContainer]:
    """A container that answers with its hostname on each host."""
    await plane.up(stack, {"web": plane.web(**GLOBAL), "client": plane.shell(**GLOBAL)})
    return await plane.until_running(f"{stack}/web", len(plane.hosts))


async def test_every_container_reaches_every_other_by_address_and_by_name(plane: Plane) -> None:
    servers = await _web_on_every_host(plane)
    clients = await plane.until_running("shop/client", 3)
    addresses = await plane.addresses("shop/web")
    assert all(_ADDRESS.fullmatch(address) for address in addresses.values()), addresses
    hostnames = {each.name: each.details["Config"]["Hostname"] for each in servers}
    for client, server in itertools.product(clients, servers):
        for place in (addresses[server.name], server.name, f"{server.name}.rancher.internal"):
            answer = await plane.sh(client, f"timeout 30 wget -q -O - http://{place}/")
            assert answer.strip() == hostnames[server.name], f"{client.name} asked {server.name} as {place}"
    for client, name in itertools.product(clients, ("web", "web.shop", "web.shop.rancher.internal")):
        assert (await plane.sh(client, f"timeout 30 wget -q -O - http://{name}/")).strip() in hostnames.values()
        found = set(_ADDRESS.findall(await plane.sh(client, f"nslookup {name}.")))
        if name.endswith("internal"):
            assert found == set(addresses.values())


async def test_ten_megabytes_arrive_intact_both_ways(plane: Plane) -> None:
    script = "dd if=/dev/urandom of=/tmp/data bs=1M count=10 2>/dev/null; exec httpd -f -p 8000 -h /tmp"
    await plane.up("bulk", {"peer": plane.shell(script, **GLOBAL)})
    peers = await plane.until_running("bulk/peer", 3)
    addresses = await plane.addresses("bulk/peer")
    for one, other in itertools.permutations(peers, 2):
        sent = (await plane.sh(other, "sha256sum < /tmp/data")).split()[0]
        got = await plane.sh(
            one, f"timeout 60 wget -q -O - http://{addresses[other.name]}:8000/data | sha256sum", timeout=90
        )
        assert got.split()[0] == sent, f"{other.name} -> {one.name}"


async def test_a_listening_container_is_reached_without_publishing_anything(plane: Plane) -> None:
    await plane.up(
        "plain",
        {
            "listener": plane.shell(
                "echo from afar | nc -l -p 7000", labels={"io.rancher.scheduler.affinity:host_label_soft": "x=y"}
            ),
            "caller": plane.shell(**GLOBAL),
        },
    )
    (listener,) = await plane.until_running("plain/listener", 1)
    caller = next(each for each in await plane.until_running("plain/caller", 3) if each.host != listener.host)
    assert listener.host_config["PortBindings"] in (None, {})
    assert (await plane.sh(caller, "nc -w 30 listener 7000 < /dev/null")).strip() == "from afar"


async def test_the_network_is_there_before_the_first_instruction(plane: Plane) -> None:
    """A program that asks once, at once, and never again."""
    await _web_on_every_host(plane)
    first = "timeout 20 wget -q -O /dev/null http://web.shop/ && echo reached || echo lost; ip -4 addr show eth0"
    await plane.up("early", {"bird": plane.shell(f"{first}; exec sleep 100000")}, {"bird": 6})
    for each in await plane.until_running("early/bird", 6):
        said = await eventually(
            partial(plane.host(each.host).run, "docker", "logs", each.id),
            lambda text: "inet" in text,
            what=f"{each.name} on {each.host} has tried",
        )
        assert "reached" in said, f"{each.name} on {each.host}: {said}"
        assert _ADDRESS.search(said), said


async def test_environments_do_not_reach_each_other(planes: tuple[Plane, Plane], plane: Plane) -> None:
    blue, green = planes
    servers = await _web_on_every_host(blue)
    addresses = await blue.addresses("shop/web")
    await green.up("other", {"client": green.shell()})
    (client,) = await green.until_running("other/client", 1)
    for server in servers:
        for place in (addresses[server.name], server.name, "web.shop"):
            said = await green.sh(client, f"timeout 2 wget -q -O - http://{place}/ || echo unreachable")
            assert said.strip() == "unreachable", f"{place} was reached from another environment"


_CAPTURE = """
import select, socket, sys
marker = sys.argv[1].encode()
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind(("eth0", 0))
print("listening", flush=True)
clear = esp = vxlan = 0
while True:
    # The end is heard only when every frame has been looked at.
    ready = select.select([tap, sys.stdin], [], [])[0]
    if tap not in ready: break
    frame = tap.recv(65535)
    clear += marker in frame
    if frame[12:14] == b"\\x08\\x00" and frame[23] == 17:
        ports = frame[34:36], frame[36:38]
        esp += (4500).to_bytes(2, "big") in ports
        vxlan += (4789).to_bytes(2, "big") in ports
print(clear, esp, vxlan)
"""


@contextlib.asynccontextmanager
async def _captured(host: LabHost, marker: str) -> AsyncIterator[list[int]]:
    """Looks at what passes the host's cable during the block.

    Filled at its end: how many frames showed the marker, how many were of encrypted UDP, and how many of VXLAN.
    """
    process = await asyncio.create_subprocess_exec(
        *host.command(sys.executable, "-c", _CAPTURE, marker), stdin=PIPE, stdout=PIPE
    )
    counts: list[int] = []
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"listening\n"
        yield counts
        async with asyncio.timeout(60):
            told, _ = await process.communicate(b"")
        counts += map(int, told.split())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_what_is_said_between_hosts_is_hidden_by_encryption_alone(
    plane: Plane, planes: tuple[Plane, Plane], request: pytest.FixtureRequest
) -> None:
    encrypted = "ipsec" in request.node.callspec.id
    await _web_on_every_host(plane)
    clients = await plane.until_running("shop/client", 3)
    servers = await plane.of_service("shop/web")
    addresses = await plane.addresses("shop/web")
    client = clients[0]
    server = next(each for each in servers if each.host != client.host)
    marker = "X-Marker-that-nobody-else-sends"
    async with _captured(plane.host(client.host), marker) as counts:
        for _ in range(5):
            await plane.sh(client, f"timeout 30 wget -q -O - --header '{marker}: 1' http://{addresses[server.name]}/")
    clear, esp, vxlan = counts
    if encrypted:
        assert (clear, vxlan) == (0, 0), f"{clear} frames with the marker, {vxlan} of VXLAN"
        assert esp > 10
    else:
        assert clear >= 5
        assert vxlan > 10
