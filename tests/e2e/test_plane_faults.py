"""Control programs die one after the other: what is established goes on, and everything is back soon after."""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass

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

_TALK = "while :; do echo .; sleep 0.1; done | nc {peer} 7001"
_LONGEST_SILENCE = 1.5
"""Seconds between two lines of a conversation that counts as undisturbed: retransmission included."""
_RETURN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A TCP connection between containers on two hosts over which a line is sent every tenth of a second."""

    plane: Plane
    listener: EngineContainer
    speaker: EngineContainer

    async def silences(self) -> tuple[float, int]:
        """The longest pause so far, in seconds, and how many lines arrived."""
        times = [float(line) for line in (await self.plane.sh(self.listener, "cat /tmp/heard")).split()]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        return max([*pauses, _uptime() - times[-1]]), len(times)


def _uptime() -> float:
    """The clock that containers share with their machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.fixture
async def conversation(plane: Plane) -> Conversation:
    # What ends its input, nc tells the other side, and that side's nc takes it for the end of everything.
    hear = "while read line; do cut -d' ' -f1 /proc/uptime >> /tmp/heard; done"
    listen = f"sleep 100000 | nc -l -p 7001 | {hear}; exec sleep 100000"
    await plane.up("talk", {"peer": plane.shell(listen, **GLOBAL), "caller": plane.shell(**GLOBAL)})
    peers = await plane.until_running("talk/peer", 3)
    callers = await plane.until_running("talk/caller", 3)
    addresses = await plane.addresses("talk/peer")
    listener = next(each for each in peers if each.host == "host1")
    speaker = next(each for each in callers if each.host == "host2")
    script = _TALK.format(peer=addresses[listener.name])
    await plane.host("host2").run("docker", "exec", "-d", speaker.id, "sh", "-c", script)
    talk = Conversation(plane, listener, speaker)
    await eventually(
        lambda: plane.sh(listener, "cat /tmp/heard 2>/dev/null | wc -l"),
        lambda lines: int(lines) > 5,
        what="the conversation has begun",
    )
    return talk


async def _everything_works(plane: Plane) -> bool:
    """Names and addresses work from each host to each other."""
    peers, callers = await asyncio.gather(plane.of_service("talk/peer"), plane.of_service("talk/caller"))
    if len([each for each in (*peers, *callers) if each.running]) != 6:
        return False
    for caller in callers:
        for peer in peers:
            try:
                said = await plane.sh(caller, f"ping -c 1 -W 1 {peer.name} || echo lost", timeout=8)
            except Exception:
                return False
            if "lost" in said or "bad address" in said:
                return False
    return True


async def _restored(plane: Plane, began: float) -> float:
    await eventually(
        lambda: _everything_works(plane), lambda works: works, what="names and addresses work again", timeout=40
    )
    return time.monotonic() - began


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
    for host in ("host1", "host2"):
        await plane.engines.kill(await plane.system_container(host, service))
    began = time.monotonic()
    await asyncio.sleep(1)
    for host in ("host1", "host2"):
        await eventually(
            lambda host=host: _runs(plane, host, service), lambda runs: runs, what=f"{service} is back", timeout=30
        )
    back = time.monotonic()
    seconds = await _restored(plane, back)
    print(f"{service}: back after {back - began:.1f} s, restored {seconds:.1f} s later")
    assert seconds < _RETURN_SECONDS
    pause, _lines = await conversation.silences()
    assert pause < _LONGEST_SILENCE, f"the conversation paused for {pause:.1f} s"
    assert {each.identity for each in await plane.on_engines("talk")} == before, "user containers were touched"


async def _runs(plane: Plane, host: str, service: str) -> bool:
    with contextlib.suppress(AssertionError):
        await plane.system_container(host, service)
        return True
    return False


async def test_the_agent_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.host("host1").kill_agent()
    await asyncio.sleep(2)
    assert await _everything_works(plane)
    began = time.monotonic()
    await plane.join(plane.host("host1"))
    assert await _restored(plane, began) < _RETURN_SECONDS
    pause, _lines = await conversation.silences()
    assert pause < _LONGEST_SILENCE


async def test_the_server_dies(plane: Plane, conversation: Conversation) -> None:
    await plane.lab.kill_server()
    await asyncio.sleep(3)
    assert await _everything_works(plane), "the data plane needs no server"
    began = time.monotonic()
    await plane.lab.start_server()
    await plane.up("after", {"one": plane.shell()})
    assert await _restored(plane, began) < _RETURN_SECONDS + 10
    pause, _lines = await conversation.silences()
    assert pause < _LONGEST_SILENCE


async def test_the_engine_dies(plane: Plane, conversation: Conversation) -> None:
    """Containers talk on without dockerd; when it returns it ends those it lost, and the services bring them back."""
    await plane.host("host1").kill_engine()
    await asyncio.sleep(3)
    heard = await plane.host("host1").run("cat", f"/proc/{conversation.listener.pid}/root/tmp/heard")
    assert _uptime() - float(heard.split()[-1]) < _LONGEST_SILENCE
    began = time.monotonic()
    await plane.host("host1").start_engine()
    await plane.until_ready(90)
    seconds = await _restored(plane, began)
    print(f"dockerd: everything restored {seconds:.1f} s after its return")


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
        timeout=60,
    )
    await plane.until_agreed("many", timeout=60)
    await plane.until_ready(90)
    await _restored(plane, began)
    kept = len(before & {each.identity for each in after})
    print(f"settled {time.monotonic() - began:.1f} s after the cable was back; {kept} of 6 containers are the same")
    assert len({each.name for each in after}) == 6
