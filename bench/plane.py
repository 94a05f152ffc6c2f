"""Three real hosts with their infrastructure: how long after its start a container has a name everywhere, and what the
programs on a host take while nothing happens.

The first figure is from the engine's own time of the start to the first answer that the DNS of a host gives, on the
host where that takes longest. It is 0 when the name was known before: the server tells of a container when it sends it
to its host, so that the first thing that the program asks for is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.options import Options
from bench.processes import MIB, BenchError, cpu_seconds
from bench.result import Measure, Result, at_most, median_of, significant
from drover.client.api import ApiClient
from lab import Lab, LabHost
from tests.e2e.engines import EngineContainer, Engines
from tests.e2e.plane import Plane, create_plane
from tests.e2e.waiting import eventually

NAME = "plane"
TITLE = "A host's programs, and names of new containers, on three hosts"

_METADATA_ADDRESS = "169.254.169.250"
_WAIT_SECONDS = 60.0
_VISIBLE = at_most(300.0)
_MEMORY = at_most(60.0)
_SETTLE_SECONDS = 15.0


async def run(options: Options) -> list[Result]:
    missing = [name for name in ("dockerd", "containerd", "docker-registry", "ip") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        return [Result(bench=NAME, title=TITLE, skipped=f"needs root and {', '.join(missing) or 'nothing else'}")]
    rounds, quiet = (3, 3.0) if options.quick else (30, 60.0)
    async with (
        Lab(hosts=3, server=True, drover_image=True, name=f"b{os.getpid()}") as lab,
        Engines(lab.hosts) as engines,
        contextlib.AsyncExitStack() as stack,
    ):
        plane, api = await create_plane(lab, lab.hosts, engines, options.work, template="VXLAN", name="bench")
        stack.push_async_exit(api)
        delays = await _name_delays(plane, api, rounds)
        await asyncio.sleep(1.0 if options.quick else _SETTLE_SECONDS)
        measures = [*_delay_measures(delays), *await _program_measures(plane, quiet)]
    settings: dict[str, float | int | str] = {"rounds": rounds, "quiet seconds": quiet}
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=settings)]


def _delay_measures(delays: Sequence[float]) -> list[Measure]:
    late = [max(0.0, delay) for delay in delays]
    return [
        median_of("start of a container until every host knows its name", late, "ms", goal=_VISIBLE),
        Measure("the slowest of them", significant(max(late)), "ms", goal=_VISIBLE),
        Measure("known before the start", sum(delay < 0 for delay in delays), f"of {len(delays)}"),
    ]


# Names


async def _name_delays(plane: Plane, api: ApiClient, rounds: int) -> list[float]:
    """Milliseconds, one a round, negative if the name came first; the hosts take turns to run the container."""
    hosts = [await plane.host_row(host.name) for host in plane.hosts]
    delays = []
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(_watch(host)) for host in plane.hosts]
        for number in range(-1, rounds):
            name = f"visible-{number + 1}"
            seen = [asyncio.create_task(watch.first_answer(f"{name}.rancher.internal")) for watch in watches]
            created = await api.create(
                "container",
                {
                    "name": name,
                    "imageUuid": f"docker:{plane.lab.image('lab/shell')}",
                    "command": ["sleep", "1000"],
                    "networkMode": "managed",
                    "requestedHostId": hosts[number % len(hosts)].id,
                },
            )
            times = await asyncio.gather(*seen)
            started = await _started_at(plane, created.text("uuid"))
            if number >= 0:
                # The first round pulls the image.
                delays.append((max(times) - started) * 1000)
            await api.delete(created)
    return delays


async def _started_at(plane: Plane, uuid: str) -> float:
    """When the engine started a container, in seconds since the epoch."""

    async def running() -> list[EngineContainer]:
        return [each for each in await plane.engines.containers() if each.uuid == uuid and each.running]

    (found,) = await eventually(running, bool, what="the container runs on one of the engines")
    # The engine tells nanoseconds, more than `fromisoformat` reads.
    whole, _, fraction = found.started_at.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


@dataclass(frozen=True, slots=True)
class _Watch:
    process: asyncio.subprocess.Process

    async def first_answer(self, name: str) -> float:
        """When the host's DNS first answered, in seconds since the epoch."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\n".encode())
        line = (await asyncio.wait_for(self.process.stdout.readline(), _WAIT_SECONDS)).decode()
        asked, _, answer = line.strip().partition(" ")
        if asked != name or answer in ("", "never"):
            raise BenchError(f"a host's DNS never knew {name}")
        return float(answer)


@contextlib.asynccontextmanager
async def _watch(host: LabHost) -> AsyncIterator[_Watch]:
    argv = host.command(sys.executable, "-m", "bench.name_watch", _METADATA_ADDRESS)
    root = Path(__file__).resolve().parents[1]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=root, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield _Watch(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _WAIT_SECONDS)


# Programs


async def _program_measures(plane: Plane, quiet: float) -> list[Measure]:
    """Memory and idle processor time of each program, where it takes most of the three hosts."""
    system = {each.text("uuid") for each in await plane.infrastructure()}
    found = [each for each in await plane.engines.containers() if each.uuid in system and each.running]
    before = {each.id: _cpu(each) for each in found}
    await asyncio.sleep(quiet)
    memory: defaultdict[str, list[float]] = defaultdict(list)
    cpu: defaultdict[str, list[float]] = defaultdict(list)
    together: defaultdict[str, float] = defaultdict(float)
    for each in found:
        program = each.labels.get("io.rancher.project_service.name", each.service)
        resident = _memory_mib(each)
        memory[program].append(resident)
        cpu[program].append((_cpu(each) - before[each.id]) / quiet * 100)
        together[each.host] += resident
    measures = []
    for program in sorted(memory):
        most, idle = significant(max(memory[program]), 3), significant(statistics.median(cpu[program]), 2)
        measures.append(Measure(f"{program}: resident memory", most, "MiB", _MEMORY))
        measures.append(Measure(f"{program}: doing nothing", idle, "% of a core"))
    return [*measures, Measure("all of a host's programs", significant(max(together.values()), 3), "MiB")]


def _cpu(container: EngineContainer) -> float:
    return sum(cpu_seconds(pid) for pid in _processes(container.pid))


def _memory_mib(container: EngineContainer) -> float:
    """Resident pages of all processes; what several share counts once a process."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in _processes(container.pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def _processes(pid: int) -> list[int]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _processes(int(child)))]
