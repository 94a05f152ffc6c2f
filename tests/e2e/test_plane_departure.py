"""A host that leaves is as it was before it came, and may come again."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab import Lab, LabHost
from tests.e2e.engines import Engines
from tests.e2e.plane import Plane, create_plane
from tests.e2e.test_plane_network import GLOBAL

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]

ROUNDS = int(os.environ.get("DROVER_TEST_DEPARTURES", "2"))
_LOOK = """
for table in raw mangle nat filter; do iptables-save -t $table; done | grep -v '^#' | sed 's/\\[.*\\]//; s/^/rule /'
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//; s/^/link /'
ip -o address | sed 's/^[0-9]*: /address /'
ip route show table all | sed 's/ linkdown//; s/^/route /'
ip neigh show | grep -v 'dev eth0' | cut -d' ' -f1-3 | sed 's/^/neighbour /'
ipset list -n | sed 's/^/set /'
docker ps -aq | sed 's/^/container /'
docker volume ls -q | sed 's/^/volume /'
docker images -q drover/wait | sed 's/^/image /'
ls /run/netns /run/docker/netns 2>/dev/null | sed 's/^/namespace /'
sed 's/^/route_localnet /' /proc/sys/net/ipv4/conf/docker0/route_localnet
find /var/lib/rancher /etc/cni /opt/cni /etc/docker/cni -printf 'file %p\\n' 2>/dev/null || true
"""
# The machine's identity stays with the agent, which somebody else started: docs/hosts.md says how to remove both.
_AGENTS_OWN = re.compile(
    r"file /var/lib/rancher(/etc(/ssl(/host\.key)?)?|/state(/\.(registration_token|\w+_uuid|engine-\w+\.lock))?)?$"
)


async def traces(host: LabHost) -> set[str]:
    """What could be left behind, one thing a line. Addresses that the kernel makes up for itself do not count."""
    lines = (await host.run("sh", "-c", _LOOK)).splitlines()
    return {line.strip() for line in lines if line.strip() and "fe80" not in line and "multicast" not in line}


@pytest.fixture(params=["VXLAN", "Cattle"], ids=["vxlan", "ipsec"])
async def alone(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Plane, set[str]]]:
    """An environment of two hosts, and what the second one looked like before it joined."""
    async with (
        Lab(hosts=2, server=True, drover_image=True, name=f"q{os.getpid()}") as lab,
        Engines(lab.hosts) as engines,
    ):
        before = await traces(lab.hosts[1])
        plane, api = await create_plane(lab, lab.hosts, engines, tmp_path, template=request.param, name="blue")
        yield plane, before
        await api.__aexit__(None, None, None)


async def test_a_removed_host_is_as_it_was(alone: tuple[Plane, set[str]]) -> None:
    plane, before = alone
    leaving = plane.host("host2")
    await plane.up("shop", {"web": plane.web(ports=["8000:80/tcp"], **GLOBAL)})
    for number in range(ROUNDS):
        await plane.until_running("shop/web", 2)
        during = await traces(leaving)
        assert len(during - before) > 30, "there is something to clean up"
        row = await plane.host_row("host2")
        await plane.drover("rm", "--type", "host", "-s", "-y", "-w", row.id, timeout=180)
        left = {each for each in await traces(leaving) if not _AGENTS_OWN.match(each)}
        print(f"departure {number + 1}: {sorted(left ^ before)}")
        assert left == before
        assert {each.host for each in await plane.until_running("shop/web", 1)} == {"host1"}
        await leaving.stop_agent()
        await plane.join(leaving)
        await plane.until_ready()
