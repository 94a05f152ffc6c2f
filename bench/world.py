"""What it costs to tell every host of one container's change: as a delta on an open WebSocket, and as the original did
it, where each host downloads its whole environment again. Both are measured on the same server with the same change.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from bench.crowd import Crowd, seed_crowd
from bench.options import Options
from bench.processes import BenchError
from bench.result import Measure, Result, at_least, at_most, median_of, significant
from bench.server import BenchServer, bench_server

NAME = "world"
TITLE = "One container's change, told to every host"

_WAIT_SECONDS = 60.0
_MIB = 1024 * 1024
_FEWER_BYTES = at_least(100.0)
_VISIBLE_SECONDS = at_most(0.3)
_QUIET_SECONDS = 0.4  # the server has said everything about a change long before


@dataclass(slots=True)
class _Followers:
    """Simulated hosts. They count, and read no more of a frame than its length."""

    sockets: list[aiohttp.ClientWebSocketResponse]
    bytes: int = 0
    frames: int = 0
    last: float = 0.0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def listen(self) -> None:
        self.tasks = [asyncio.create_task(self._count(each)) for each in self.sockets]

    async def _count(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self.bytes += len(message.data)
            self.frames += 1
            self.last = time.monotonic()


@dataclass(slots=True)
class _Samples:
    delta_cpu: list[float] = field(default_factory=list)
    alone_cpu: list[float] = field(default_factory=list)
    full_cpu: list[float] = field(default_factory=list)
    delta_seconds: list[float] = field(default_factory=list)
    full_seconds: list[float] = field(default_factory=list)
    delta_bytes: int = 0
    delta_frames: int = 0
    delta_changes: int = 0
    full_bytes: int = 0


async def run(options: Options) -> list[Result]:
    hosts, services, containers, rounds = (5, 10, 100, 2) if options.quick else (100, 500, 5000, 5)
    burst = 5 if options.quick else 20
    data_dir = options.work / NAME
    crowd = await seed_crowd(data_dir, hosts=hosts, services=services, containers=containers)
    samples = _Samples()
    async with bench_server(data_dir) as server:
        await asyncio.sleep(1.0 if options.quick else 5.0)
        idle = server.program.memory_mib()
        for _ in range(rounds):
            samples.alone_cpu.append(await _changes(server, crowd, burst))
        first, all_of_them, loaded = await _until_full(server, crowd)
        for _ in range(rounds):
            await _deltas(server, crowd, burst, samples)
            await _downloads(server, crowd, samples)
        followed = server.program.memory_mib()
    settings: dict[str, float | int | str] = {
        "hosts": hosts,
        "services": services,
        "containers": containers,
        "changes": burst * rounds,
    }
    measures = _measures(samples, hosts, first, all_of_them, idle, max(loaded, followed))
    return [Result(bench=NAME, title=TITLE, measures=measures, settings=settings)]


def _measures(
    samples: _Samples, hosts: int, first: float, all_of_them: float, idle: float, followed: float
) -> tuple[Measure, ...]:
    per_change = samples.delta_bytes / samples.delta_changes
    full = samples.full_bytes / len(samples.full_cpu)
    # Of few changes the difference can be smaller than the clock's steps, and fall on either side of zero.
    extra = max(0.0, statistics.median(samples.delta_cpu) - statistics.median(samples.alone_cpu))
    whole = statistics.median(samples.full_cpu)
    frames = samples.delta_frames / samples.delta_changes / hosts
    return (
        Measure("one change: bytes to all hosts", significant(per_change), "B", note=f"{frames:.2g} frames a host"),
        Measure("one change, everything downloaded: bytes to all hosts", significant(full), "B"),
        Measure("fewer bytes", significant(full / per_change), "times", goal=_FEWER_BYTES),
        Measure(
            "one change: CPU of the server for following and telling",
            significant(extra),
            "ms",
            note="beyond the same change with nobody following; sending to every host included",
        ),
        Measure("one change: the same for each host", significant(extra / hosts), "ms"),
        Measure("one change, everything downloaded: CPU of the server", significant(whole), "ms"),
        Measure("less CPU", significant(whole / max(extra, 0.1)), "times", goal=at_least(10.0)),
        median_of("one change: until the last host has it", samples.delta_seconds, "s", goal=_VISIBLE_SECONDS),
        median_of("one change, everything downloaded: until the last host has it", samples.full_seconds, "s"),
        Measure("first follower: until it has everything", significant(first), "s", note="read from the database"),
        Measure("all others at once: until they have everything", significant(all_of_them), "s"),
        Measure("memory of the server before", significant(idle), "MiB"),
        Measure("memory for the snapshot and its followers", significant(followed - idle), "MiB"),
    )


async def _changes(server: BenchServer, crowd: Crowd, burst: int) -> float:
    """CPU milliseconds of the server for one change, with whoever follows at the moment."""
    cpu = server.program.cpu_seconds()
    for number in range(burst):
        await _change(server, crowd.container_ids[number % len(crowd.container_ids)])
        await asyncio.sleep(_QUIET_SECONDS)
    return (server.program.cpu_seconds() - cpu) * 1000 / burst


async def _change(server: BenchServer, container_id: int) -> None:
    await server.put(f"containers/1i{container_id}", {"name": f"renamed-{time.monotonic_ns()}"})


async def _until_full(server: BenchServer, crowd: Crowd) -> tuple[float, float, float]:
    """Seconds until the first follower has everything, until all others have, and the server's memory then."""
    began = time.monotonic()
    async with _following(server, crowd.logins[:1]):
        first = time.monotonic() - began
        began = time.monotonic()
        async with _following(server, crowd.logins[1:]):
            return first, time.monotonic() - began, server.program.memory_mib()


@contextlib.asynccontextmanager
async def _following(server: BenchServer, logins: Sequence[Mapping[str, str]]) -> AsyncIterator[_Followers]:
    """Followers that have received everything."""
    url = f"{server.url.replace('http', 'ws', 1)}/v2-beta/world?encoding=deflate"
    sockets = await asyncio.gather(*(server.session.ws_connect(url, headers=login, max_msg_size=0) for login in logins))
    try:
        await asyncio.gather(*(each.receive_bytes(timeout=_WAIT_SECONDS) for each in sockets))
        yield _Followers(list(sockets))
    finally:
        await asyncio.gather(*(each.close() for each in sockets))


async def _deltas(server: BenchServer, crowd: Crowd, burst: int, samples: _Samples) -> None:
    async with _following(server, crowd.logins) as followers:
        followers.listen()
        samples.delta_cpu.append(await _changes(server, crowd, burst))
        samples.delta_changes += burst
        samples.delta_bytes += followers.bytes
        samples.delta_frames += followers.frames
        if followers.frames < burst * len(crowd.logins):
            raise BenchError(f"{followers.frames} frames arrived, fewer than changes; look at the server's log")
        began = time.monotonic()
        await _change(server, crowd.container_ids[0])
        await asyncio.sleep(_QUIET_SECONDS)
        samples.delta_seconds.append(followers.last - began)


async def _downloads(server: BenchServer, crowd: Crowd, samples: _Samples) -> None:
    """As the original's metadata containers do it after each change."""
    await _download(server, crowd.logins[0])  # who is there has downloaded before, so the server has something to keep
    cpu, began = server.program.cpu_seconds(), time.monotonic()
    await _change(server, crowd.container_ids[0])
    await asyncio.sleep(_QUIET_SECONDS)
    sizes = await asyncio.gather(*(_download(server, login) for login in crowd.logins))
    samples.full_seconds.append(time.monotonic() - began - _QUIET_SECONDS)
    samples.full_cpu.append((server.program.cpu_seconds() - cpu) * 1000)
    samples.full_bytes += sum(sizes)


async def _download(server: BenchServer, login: Mapping[str, str]) -> int:
    url = f"{server.url}/v2-beta/configcontent/metadata-answers?client=v2&requestedVersion="
    async with server.session.get(url, headers=login) as response:
        if response.status != 200:
            raise BenchError(f"{url} answered {response.status}")
        return len(await response.read())
