"""Encrypted traffic between hosts survives whoever looks after it: deaths in turn, and an upgrade.

Where the kernel cannot encrypt, as in the laboratory of CI, charon's own death is the one that must interrupt.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from drover.client.api import ApiClient
from tests.e2e.conversation import Conversation, everything_works, is_back, restored
from tests.e2e.engines import EngineContainer
from tests.e2e.plane import Plane
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["Cattle"], indirect=True, ids=["ipsec"]),
]

CONTROL = (
    "network-services/metadata",
    "network-services/metadata/dns",
    "network-services/network-manager",
    "ipsec/ipsec/router",
    "ipsec/ipsec/connectivity-check",
    "healthcheck/healthcheck",
)
CHARON = "ipsec/ipsec/charon"
HOSTS = ("host1", "host2")


@dataclass
class Pings:
    sent: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.sent - self.lost} of {self.sent} pings answered"


@asynccontextmanager
async def pinging(conversation: Conversation) -> AsyncIterator[Pings]:
    """Echo requests from one container to the one on the other host; a late answer is an answer."""
    plane = conversation.plane
    speaker = next(each for each in await plane.of_service("talk/caller") if each.host != conversation.listener.host)
    address = (await plane.addresses("talk/peer"))[conversation.listener.name]
    once = f"ping -c 1 -W 60 {address} > /dev/null 2>&1 && echo answered || echo lost"
    script = f"rm -f /tmp/pings /tmp/stop; while [ ! -e /tmp/stop ]; do {once}; sleep 0.05; done > /tmp/pings"
    await plane.host(speaker.host).run("docker", "exec", "-d", speaker.id, "sh", "-c", script)
    counted = Pings()
    yield counted
    ended = "touch /tmp/stop; while pgrep ping > /dev/null; do sleep 0.1; done; sleep 0.1; cat /tmp/pings"
    said = (await plane.sh(speaker, ended, timeout=90)).split()
    counted.sent, counted.lost = len(said), said.count("lost")


async def _kill(plane: Plane, service: str, hosts: Sequence[str]) -> None:
    """Kill a service's containers, and wait until they are back and everything works."""
    victims = [await plane.system_container(host, service) for host in hosts]
    began = time.monotonic()
    for victim in victims:
        await plane.engines.kill(victim)
    for victim in victims:
        await eventually(partial(is_back, plane, service, victim), bool, what=f"{service} is back on {victim.host}")
    back = time.monotonic()
    print(f"{service}: back after {back - began:.1f} s")
    await restored(plane, back)


async def test_no_control_program_is_missed(plane: Plane, conversation: Conversation) -> None:
    before = {each.identity for each in await plane.on_engines("talk")}
    charons = {each.pid for each in await _of(plane, (CHARON,))}
    for service in CONTROL:
        async with pinging(conversation) as pings:
            await _kill(plane, service, HOSTS)
            await conversation.goes_on()
        print(f"{service}: {pings}")
        assert pings.lost == 0, f"{service}: {pings}"
    assert {each.identity for each in await plane.on_engines("talk")} == before, "user containers were touched"
    assert {each.pid for each in await _of(plane, (CHARON,))} == charons


@pytest.mark.parametrize("host", HOSTS)
async def test_tunnels_come_back_with_charon(plane: Plane, conversation: Conversation, host: str) -> None:
    """In user space the packets are charon's: there is a pause, and the connection is the same afterwards."""
    await _kill(plane, CHARON, (host,))
    await conversation.goes_on()


async def test_neither_agent_nor_server_is_missed(plane: Plane, conversation: Conversation) -> None:
    async with pinging(conversation) as pings:
        await plane.host("host1").kill_agent()
        await plane.lab.kill_server()
        await eventually(lambda: everything_works(plane), bool, what="the data plane needs neither")
        began = time.monotonic()
        await plane.lab.start_server()
        await plane.join(plane.host("host1"))
        await restored(plane, began)
        await conversation.goes_on()
    print(f"agent and server: {pings}")
    assert pings.lost == 0, str(pings)


async def test_an_upgrade_is_not_noticed(plane: Plane, conversation: Conversation) -> None:
    """The programs are exchanged on all hosts; what holds and what carries the network stays."""
    image = "drover:upgraded"
    for host in plane.lab.hosts:
        await host.run("docker", "tag", "drover:latest", image)
    kept = await _of(plane, ("ipsec/ipsec", CHARON))
    replaced = await _of(plane, ("ipsec/ipsec/router", "network-services/metadata"))
    async with ApiClient(plane.lab.server_url) as root:
        api = root.unscoped()
        await api.create("setting", {"name": "drover.image", "value": image})
        async with pinging(conversation) as pings:
            began = time.monotonic()
            await api.action(await api.get("project", plane.url.rpartition("/")[2]), "upgrade")
            await eventually(
                lambda: _routers_from(plane, image),
                lambda found: found == len(plane.hosts),
                what="the routers are exchanged",
                timeout=240,
            )
            await plane.until_ready()
            await conversation.goes_on()
    print(f"upgrade: {time.monotonic() - began:.0f} s; {pings}")
    assert pings.lost == 0, str(pings)
    assert {each.id for each in await _of(plane, ("ipsec/ipsec", CHARON))} == {each.id for each in kept}
    now = await _of(plane, ("ipsec/ipsec/router", "network-services/metadata"))
    assert not {each.id for each in now} & {each.id for each in replaced}


async def _of(plane: Plane, services: Sequence[str]) -> list[EngineContainer]:
    return [await plane.system_container(host.name, service) for service in services for host in plane.hosts]


async def _routers_from(plane: Plane, image: str) -> int:
    """On how many hosts a router made from this image runs."""
    label = "io.rancher.project_service.name"
    routers = [each for each in await plane.engines.containers() if each.labels.get(label) == "ipsec/ipsec/router"]
    return sum(1 for each in routers if each.running and each.details["Config"]["Image"] == image)
