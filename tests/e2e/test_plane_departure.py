"""A host that leaves is as it was before it came."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab import Lab, LabHost
from tests.e2e.engines import Engines
from tests.e2e.plane import Plane, create_plane
from tests.e2e.test_plane_network import GLOBAL
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.e2e, pytest.mark.docker, pytest.mark.slow]

_LOOK = """
for table in raw mangle nat filter; do iptables-save -t $table; done | grep -v '^#' | sed 's/\\[.*\\]//'
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//'
ip -o address | sed 's/^[0-9]*: //'
ip route show table all | grep -v fe80
ipset list -n
docker ps -aq
ls /var/lib/rancher/state/cni 2>/dev/null
ls /run/netns /run/docker/netns 2>/dev/null || true
"""


async def _traces(host: LabHost) -> set[str]:
    """What could be left behind, one thing a line. Addresses that the kernel makes up for itself do not count."""
    lines = (await host.run("sh", "-c", _LOOK)).splitlines()
    return {line.strip() for line in lines if line.strip() and "inet6 fe80" not in line and "multicast" not in line}


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[tuple[Plane, set[str]]]:
    """An environment of two hosts, and what the second one looked like before it joined."""
    async with (
        Lab(hosts=2, server=True, drover_image=True, name=f"q{os.getpid()}") as lab,
        Engines(lab.hosts) as engines,
    ):
        before = await _traces(lab.hosts[1])
        plane, api = await create_plane(lab, lab.hosts, engines, tmp_path, template="VXLAN", name="blue")
        yield plane, before
        await api.__aexit__(None, None, None)


async def test_a_removed_host_is_as_it_was(alone: tuple[Plane, set[str]]) -> None:
    plane, before = alone
    await plane.up("shop", {"web": plane.web(ports=["8000:80/tcp"], **GLOBAL)})
    await plane.until_running("shop/web", 2)
    leaving = plane.host("host2")
    during = await _traces(leaving)
    assert len(during - before) > 30, "there is something to clean up"
    row = await plane.host_row("host2")
    await plane.drover("rm", "--type", "host", "-s", "-y", "-w", row.id, timeout=90)
    left = await eventually(
        lambda: _traces(leaving), lambda seen: seen <= before, what="the host is as it was", timeout=120
    )
    assert before == left
    assert {each.host for each in await plane.until_running("shop/web", 1)} == {"host1"}
