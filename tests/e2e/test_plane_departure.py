"""A host that leaves is as it was before it came, and may come again."""

import os
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from lab import Lab, LabHost
from tests.e2e.engines import Engines
from tests.e2e.plane import GLOBAL, Plane, create_plane
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]

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


async def _remove(plane: Plane, host: LabHost) -> None:
    row = await plane.host_row(host.name)
    done = await plane.drover("rm", "--type", "host", "-s", "-y", "-w", row.id, timeout=180)
    print(f"removed after {done.seconds:.1f} s", end="; ")


async def _remove_with_two_servers(plane: Plane, host: LabHost) -> None:
    """The first one dies while the host cleans up."""
    row = await plane.host_row(host.name)
    await plane.drover("rm", "--type", "host", "-s", "-y", row.id, timeout=180)
    cleaning = partial(host.run, "docker", "ps", "-aq", "--filter", "label=io.drover.agent.task")
    await eventually(cleaning, bool, what="the host cleans up", timeout=120)
    await plane.lab.kill_server()
    await plane.lab.start_server()

    async def known() -> list[str]:
        return [each.text("hostname") for each in await plane.api.list("host", {"removed_null": 1})]

    await eventually(known, lambda names: host.name not in names, what="the host is removed", timeout=120)


async def test_a_removed_host_is_as_it_was(alone: tuple[Plane, set[str]]) -> None:
    plane, before = alone
    host = plane.host("host2")
    await plane.up("shop", {"web": plane.web(ports=["8000:80/tcp"], **GLOBAL)})
    for remove in (_remove, _remove_with_two_servers):
        await plane.until_running("shop/web", 2)
        assert len(await traces(host) - before) > 30, "there is something to clean up"
        await remove(plane, host)
        left = {each for each in await traces(host) if not _AGENTS_OWN.match(each)}
        print(f"after {remove.__name__}: {sorted(left ^ before)}")
        assert left == before
        assert {each.host for each in await plane.until_running("shop/web", 1)} == {"host1"}
        await host.stop_agent()
        await plane.join(host)
        await plane.until_ready()
