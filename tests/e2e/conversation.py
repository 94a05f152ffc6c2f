"""What goes on between containers of different hosts while something is broken, and whether all is well again."""

import asyncio
import contextlib
import itertools
import time
from dataclasses import dataclass

from lab.errors import LabError
from tests.e2e.engines import EngineContainer
from tests.e2e.plane import GLOBAL, Plane
from tests.e2e.waiting import eventually

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


async def begin_conversation(plane: Plane) -> Conversation:
    """Deploy the stack `talk`, a listener and a speaker on every host, and have two of them talk."""
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


async def everything_works(plane: Plane) -> bool:
    """Names and addresses work from each host to each other."""
    peers, callers = await asyncio.gather(plane.of_service("talk/peer"), plane.of_service("talk/caller"))
    if len([each for each in (*peers, *callers) if each.running]) != 6:
        return False
    for caller in callers:
        for peer in peers:
            try:
                said = await plane.sh(caller, f"ping -c 1 -W 1 {peer.name} || echo lost", timeout=20)
            except (LabError, TimeoutError):
                return False
            if "lost" in said or "bad address" in said:
                return False
    return True


async def restored(plane: Plane, began: float) -> None:
    await eventually(lambda: everything_works(plane), bool, what="names and addresses work again", timeout=180)
    print(f"names and addresses work {time.monotonic() - began:.1f} s later")


async def is_back(plane: Plane, service: str, victim: EngineContainer) -> bool:
    """Whether the container that was killed runs again, or another in its place."""
    with contextlib.suppress(AssertionError):
        return (await plane.system_container(victim.host, service)).identity != victim.identity
    return False
