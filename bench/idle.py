"""What a server costs when little happens: simulated hosts are connected, and nobody asks for anything, or for fifteen
containers a minute, one after the other. The latter is a published measurement of Rancher 1.6: 381 % CPU and 1,650
statements a second.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass

from bench.options import Options
from bench.processes import BenchError, Program
from bench.result import Measure, Result, at_most, significant
from bench.server import BenchServer, bench_server, simulated_hosts

NAME = "idle"
TITLE = "An idle server with connected hosts, and a trickle of containers"

_STATEMENTS = "drover_store_statements_total"
_PEER = re.compile(r"^\S+ +\d+ +\d+ +\S+ +(\S+)")
_BYTES = re.compile(r"\bbytes_(sent|received):(\d+)")
_LITTLE = at_most(5.0)
_MEMORY = at_most(150.0)
_STARTS_PER_MINUTE = 15


@dataclass(frozen=True, slots=True)
class _Watched:
    """What happened in ``seconds``: CPU seconds, statements, bytes on the hosts' channels."""

    seconds: float
    server_cpu: float
    simulator_cpu: float
    statements: float
    sent: int
    received: int


async def run(options: Options) -> list[Result]:
    hosts, seconds = (10, 4.0) if options.quick else (100, 60.0)
    async with bench_server(options.work / NAME) as server, simulated_hosts(server, hosts) as simulator:
        service = await server.create_service("web", hosts)
        await asyncio.sleep(2.0 if options.quick else 10.0)
        quiet = await _watch(server, simulator, seconds, asyncio.sleep(seconds))
        memory = server.program.memory_mib()
        busy = await _watch(server, simulator, seconds, _trickle(server, service, hosts, seconds))
    measures = (
        *_rows("idle", quiet),
        Measure("idle: resident memory of the server", significant(memory), "MiB", goal=_MEMORY),
        *_rows(f"{_STARTS_PER_MINUTE} containers a minute", busy),
    )
    settings: dict[str, float | int | str] = {"hosts": hosts, "containers": hosts, "seconds_watched": seconds}
    return [Result(bench=NAME, title=TITLE, measures=measures, settings=settings)]


async def _watch(server: BenchServer, simulator: Program, seconds: float, meanwhile: Awaitable[None]) -> _Watched:
    statements = await server.metric(_STATEMENTS)  # one request, no statement
    server_cpu, simulator_cpu = server.program.cpu_seconds(), simulator.cpu_seconds()
    before = await _traffic(server.port)
    await meanwhile
    sent, received = _moved(before, await _traffic(server.port))
    return _Watched(
        seconds=seconds,
        server_cpu=server.program.cpu_seconds() - server_cpu,
        simulator_cpu=simulator.cpu_seconds() - simulator_cpu,
        statements=await server.metric(_STATEMENTS) - statements,
        sent=sent,
        received=received,
    )


async def _trickle(server: BenchServer, service: str, present: int, seconds: float) -> None:
    """One container after the other, at the same pace."""
    pause = 60.0 / _STARTS_PER_MINUTE
    count = max(1, round(seconds / pause))
    began = time.monotonic()
    for number in range(1, count + 1):
        await server.put(f"services/{service}", {"scale": present + number})
        await asyncio.sleep(max(0.0, began + number * pause - time.monotonic()))
    if (running := server.count("instance", "running")) < present + count:
        raise BenchError(f"{running} of {present + count} containers run; {server.program.last_words()}")


def _rows(case: str, watched: _Watched) -> list[Measure]:
    per_second = 1 / watched.seconds
    return [
        Measure(f"{case}: server CPU", significant(watched.server_cpu * per_second * 100), "% of a core", goal=_LITTLE),
        Measure(f"{case}: statements", significant(watched.statements * per_second), "/s"),
        Measure(f"{case}: from the server to the hosts", significant(watched.sent * per_second), "B/s"),
        Measure(f"{case}: from the hosts to the server", significant(watched.received * per_second), "B/s"),
        Measure(f"{case}: simulator CPU", significant(watched.simulator_cpu * per_second * 100), "% of a core"),
    ]


async def _traffic(port: int) -> dict[str, tuple[int, int]]:
    """Bytes sent and received so far on each of the server's connections, as TCP counts them (no headers)."""
    try:
        process = await asyncio.create_subprocess_exec(
            "ss", "-tinHO", f"sport = :{port}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except FileNotFoundError as missing:
        raise BenchError("the program `ss` is missing; install iproute2") from missing
    async with asyncio.timeout(10):
        output, _ = await process.communicate()
    found = {}
    for line in output.decode().splitlines():
        if (peer := _PEER.match(line)) is not None:
            moved = dict(_BYTES.findall(line))
            found[peer[1]] = int(moved.get("sent", 0)), int(moved.get("received", 0))
    return found


def _moved(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Of the connections that were open all the time: the hosts' channels."""
    kept = before.keys() & after.keys()
    sent = sum(after[peer][0] - before[peer][0] for peer in kept)
    received = sum(after[peer][1] - before[peer][1] for peer in kept)
    return sent, received
