"""Fifty containers replaced one by one: a rolling upgrade in which each stops before its successor starts.

Two kinds of hosts: such that answer at once, which leaves what the server itself takes, and such that take a while
for every command, as engines do. With the latter the upgrade cannot be faster than 50 stops, 50 starts and the
pauses between the batches; the ratio to that bound is what counts.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.options import Options
from bench.processes import BenchError
from bench.result import Measure, Result, median_of
from bench.server import BenchServer, bench_server, simulated_hosts

NAME = "replace"
TITLE = "A rolling upgrade, one container at a time"

_INTERVAL_MS = 100
_LATENCY_MS = 100
_TIMEOUT = 300.0
_COMMANDS = 2  # stop the old one, start the new one


@dataclass(frozen=True, slots=True)
class _Upgrade:
    seconds: float
    server_cpu: float
    simulator_cpu: float


async def run(options: Options) -> list[Result]:
    containers, rounds = (10, 1) if options.quick else (50, 3)
    at_once = await _on_hosts(options, containers, rounds, latency_ms=0)
    delayed = await _on_hosts(options, containers, rounds, latency_ms=_LATENCY_MS)
    measures = [
        *_rows("hosts that answer at once", containers, at_once, latency_ms=0),
        *_rows(f"hosts that take {_LATENCY_MS} ms a command", containers, delayed, latency_ms=_LATENCY_MS),
    ]
    settings: dict[str, float | int | str] = {"containers": containers, "interval_ms": _INTERVAL_MS, "rounds": rounds}
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=settings)]


async def _on_hosts(options: Options, containers: int, rounds: int, *, latency_ms: int) -> list[_Upgrade]:
    upgrades = []
    async with (
        bench_server(options.work / f"{NAME}-{latency_ms}") as server,
        simulated_hosts(server, 10, latency_ms=latency_ms) as simulator,
    ):
        service = await server.create_service("web", containers)
        for number in range(rounds):
            server_cpu, simulator_cpu = server.program.cpu_seconds(), simulator.cpu_seconds()
            image = f"docker:bench/web:{number + 2}"
            seconds = await _upgrade(server, service, image, containers)
            upgrades.append(
                _Upgrade(seconds, server.program.cpu_seconds() - server_cpu, simulator.cpu_seconds() - simulator_cpu)
            )
            await server.post(f"services/{service}?action=finishupgrade", {})
            await server.until_service(service, "active", timeout=60.0)
    return upgrades


async def _upgrade(server: BenchServer, service: str, image: str, containers: int) -> float:
    strategy = {
        "batchSize": 1,
        "intervalMillis": _INTERVAL_MS,
        "startFirst": False,
        "launchConfig": {"imageUuid": image},
    }
    began = time.monotonic()
    await server.post(f"services/{service}?action=upgrade", {"inServiceStrategy": strategy})
    while server.count("service", "upgraded") == 0:
        if time.monotonic() - began > _TIMEOUT:
            raise BenchError(f"the upgrade has no end; {server.program.last_words()}")
        await asyncio.sleep(0.05)
    seconds = time.monotonic() - began
    running = (await server.get(f"services/{service}/instances?state=running&limit=1000"))["data"]
    upgraded = sum(each["imageUuid"] == image for each in running)
    if upgraded != containers:
        raise BenchError(f"after the upgrade {upgraded} of {containers} containers run the new image")
    return seconds


def _rows(case: str, containers: int, upgrades: list[_Upgrade], *, latency_ms: int) -> list[Measure]:
    pauses = (containers - 1) * _INTERVAL_MS / 1000
    bound = containers * _COMMANDS * latency_ms / 1000 + pauses
    note = f"bound {bound:g} s: {pauses:g} s of pauses" + (" and the commands" if latency_ms else "")
    return [
        median_of(f"{case}: duration", [each.seconds for each in upgrades], "s", note=note),
        median_of(f"{case}: duration ÷ bound", [each.seconds / bound for each in upgrades]),
        median_of(f"{case}: server CPU", [each.server_cpu for each in upgrades], "s"),
        median_of(f"{case}: server CPU of one core", [each.server_cpu / each.seconds * 100 for each in upgrades], "%"),
    ]
