"""What a server costs when nothing happens: simulated hosts are connected, nobody asks for anything."""

from __future__ import annotations

import asyncio
import re

from bench.options import Options
from bench.processes import BenchError
from bench.result import Measure, Result, at_most, significant
from bench.server import bench_server, simulated_hosts

NAME = "idle"
TITLE = "An idle server with connected hosts"

_STATEMENTS = "drover_store_statements_total"
_PEER = re.compile(r"^\S+ +\d+ +\d+ +\S+ +(\S+)")
_BYTES = re.compile(r"\bbytes_(sent|received):(\d+)")
_IDLE = at_most(5.0)
_MEMORY = at_most(150.0)


async def run(options: Options) -> list[Result]:
    hosts, seconds = (10, 5.0) if options.quick else (100, 60.0)
    async with bench_server(options.work / NAME) as server, simulated_hosts(server, hosts) as simulator:
        await server.create_service("web", hosts)
        await asyncio.sleep(2.0 if options.quick else 10.0)
        statements = await server.metric(_STATEMENTS)
        cpu, simulator_cpu = server.program.cpu_seconds(), simulator.cpu_seconds()
        before = await _traffic(server.port)
        await asyncio.sleep(seconds)
        cpu = server.program.cpu_seconds() - cpu
        simulator_cpu = simulator.cpu_seconds() - simulator_cpu
        sent, received = _moved(before, await _traffic(server.port))
        # Reading the metric is one request, no statement.
        statements = await server.metric(_STATEMENTS) - statements
        memory = server.program.memory_mib()
    measures = (
        Measure("server CPU", significant(cpu / seconds * 100), "% of a core", goal=_IDLE),
        Measure("statements sent to the database", significant(statements / seconds), "/s"),
        Measure("from the server to the hosts", significant(sent / seconds), "B/s"),
        Measure("from the hosts to the server", significant(received / seconds), "B/s"),
        Measure("resident memory of the server", significant(memory), "MiB", goal=_MEMORY),
        Measure("simulator CPU", significant(simulator_cpu / seconds * 100), "% of a core"),
    )
    settings: dict[str, float | int | str] = {"hosts": hosts, "containers": hosts, "seconds_watched": seconds}
    return [Result(bench=NAME, title=TITLE, measures=measures, settings=settings)]


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
