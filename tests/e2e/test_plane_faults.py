"""Control programs die one after the other: what is established goes on, and everything is back soon after."""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass
from functools import partial

import pytest

from tests.e2e.engines import EngineContainer
from tests.e2e.plane import Plane
from tests.e2e.test_plane_network import GLOBAL
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN"], indirect=True, ids=["vxlan"]),
]

_TALK = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done | nc {peer} 7001"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A TCP connection between containers on two hosts over which a number is sent every tenth of a second."""

    plane: Plane
    listener: EngineContainer

    async def heard(self) -> list[tuple[int, float]]:
        """Each number that arrived, and when, in seconds of the machine's uptime. Needs no engine."""
        host = self.plane.host(self.listener.host)
        text = await host.run("cat", f"/proc/{self.listener.pid}/root/tmp/heard")
        return [(int(number), float(at)) for number, at in (line.split() for line in text.splitlines())]

    async def goes_on(self) -> None:
        """What is said from now on arrives, over the connection of the first moment, and nothing was lost."""
        before = len(await self.heard())
        heard = await eventually(self.heard, lambda heard: len(heard) > before + 10, what="the conversation goes on")
        assert [number for number, _ in heard] == list(range(1, len(heard) + 1)), "lines were lost"
        pause, after = max((later - earlier, n) for (n, earlier), (_, later) in itertools.pairwise(heard))
        print(f"the conversation of {len(heard)} lines paused for {pause:.1f} s at most, after line {after}")


@pytest.fixture
async def conversation(plane: Plane) -> Conversation:
    # What ends its input, nc tells the other side, and that side's nc takes it for the end of everything.
    hear = "while read line; do echo $$line $$(cut -d' ' -f1 /proc/uptime) >> /tmp/heard; done"
    listen = f"sleep 100000 | nc -l -p 7001 | {hear}; exec sleep 100000"
    await plane.up("talk", {"peer": plane.shell(listen, **GLOBAL), "caller": plane.shell(**GLOBAL)})
    peers = await plane.until_running("talk/peer", 3)
    callers = await plane.until_running("talk/caller", 3)
    addresses = await plane.addresses("talk/peer")
    listener = next(each for each in peers if each.host == "host1")
    speaker = next(each for each in callers if each.host == "host2")
    script = _TALK.format(peer=addresses[listener.name])
    await plane.host("host2").run("docker", "exec", "-d", speaker.id, "sh", "-c", script)
    await eventually(
        lambda: plane.sh(listener, "cat /tmp/heard 2>/dev/null | wc -l"),
        lambda lines: int(lines) > 5,
        what="the conversation has begun",
    )
    return Conversation(plane, listener)


async def _everything_works(plane: Plane) -> bool:
    """Names and addresses work from each host to each other."""
    peers, callers = await asyncio.gather(plane.of_service("talk/peer"), plane.of_service("talk/caller"))
    if len([each for each in (*peers, *callers) if each.running]) != 6:
        return False
    for caller in callers:
        for peer in peers:
            try:
                said = await plane.sh(caller, f"ping -c 1 -W 1 {peer.name} || echo lost", timeout=20)
            except Exception:
                return False
            if "lost" in said or "bad address" in said:
                return False
    return True


async def _restored(plane: Plane, began: float) -> None:
    await eventually(lambda: _everything_works(plane), bool, what="names and addresses work again", timeout=180)
    print(f"names and addresses work {time.monotonic() - began:.1f} s later")


@pytest.mark.parametrize(
    "service",
    [
        "network-services/metadata",
        "network-services/metadata/dns",
        "network-services/network-manager",
        "vxlan/vxlan/router",
        "healthcheck/healthcheck",
    ],
)
async def test_a_program_of_the_host_dies(plane: Plane, conversation: Conversation, service: str) -> None:
    before = {each.identity for each in await plane.on_engines("talk")}
    victims = [await plane.system_container(host, service) for host in ("host1", "host2")]
    for victim in victims:
        await plane.engines.kill(victim)
    began = time.monotonic()
    for victim in victims:
        await eventually(partial(_is_back, plane, service, victim), bool, what=f"{service} is back on {victim.host}")
    back = time.monotonic()
    print(f"{service}: back after {back - began:.1f} s")
    await _restored(plane, back)
    await conversation.goes_on()
    assert {each.identity for each in await plane.on_engines("talk")} == before, "user containers were touched"


async def _is_back(plane: Plane, service: str, victim: EngineContainer) -> bool:
    """Whether the container that was killed runs again, or another in its place."""
    with contextlib.suppress(AssertionError):
        return (await plane.system_container(victim.host, service)).identity != victim.identity
    return False


async def test_the_agent_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.host("host1").kill_agent()
    await eventually(lambda: _everything_works(plane), bool, what="the data plane works without an agent")
    await conversation.goes_on()
    began = time.monotonic()
    await plane.join(plane.host("host1"))
    await _restored(plane, began)
    await conversation.goes_on()


async def test_the_server_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.lab.kill_server()
    await eventually(lambda: _everything_works(plane), bool, what="the data plane works without a server")
    await conversation.goes_on()
    began = time.monotonic()
    await plane.lab.start_server()
    await plane.up("after", {"one": plane.shell()})
    await _restored(plane, began)
    await conversation.goes_on()


async def test_the_engine_dies(plane: Plane, conversation: Conversation) -> None:
    """Containers talk on without dockerd; when it returns it ends those it lost, and the services bring them back."""
    await plane.host("host1").kill_engine()
    await conversation.goes_on()
    began = time.monotonic()
    await plane.host("host1").start_engine()
    await plane.until_ready()
    await _restored(plane, began)


async def test_a_host_that_was_cut_off_comes_back_as_it_was(plane: Plane, conversation: Conversation) -> None:
    await plane.up("many", {"web": plane.web()}, {"web": 6})
    before = {each.identity for each in await plane.on_engines("many")}
    host = plane.host("host2")
    await host.cut_network()
    await asyncio.sleep(60)
    await host.restore_network()
    began = time.monotonic()
    after = await eventually(
        lambda: plane.of_service("many/web"),
        lambda found: len(found) == 6 and all(each.running for each in found),
        what="six containers, no more and no fewer",
        timeout=180,
    )
    await plane.until_agreed("many")
    await plane.until_ready()
    await _restored(plane, began)
    kept = len(before & {each.identity for each in after})
    print(f"settled {time.monotonic() - began:.1f} s after the cable was back; {kept} of 6 containers are the same")
    assert len({each.name for each in after}) == 6
