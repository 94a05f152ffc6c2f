"""Start-up time and idle memory of the server, on a fresh and on an existing database.

The clock runs from the start of the process, so the interpreter and all imports are part of it. Rounds alternate
between the two cases, so that a change of the machine's load falls on both.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from dataclasses import dataclass, field

from bench.options import Options
from bench.processes import BenchError, environment
from bench.result import Measure, Result, at_most, median_of, significant
from bench.server import bench_server

NAME = "startup"
TITLE = "Start-up and idle memory of the server"

_ROUNDS = 7
_QUICK_ROUNDS = 2
_SETTLE_SECONDS = 3.0
_QUICK_SETTLE_SECONDS = 0.5
_READY = at_most(2.0)
_MEMORY = at_most(150.0)
_IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


@dataclass(slots=True)
class _Samples:
    healthz: list[float] = field(default_factory=list)
    api: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def measures(self, case: str) -> list[Measure]:
        return [
            median_of(f"{case}: /healthz answers after", self.healthz, "s", goal=_READY),
            median_of(f"{case}: /v2-beta answers after", self.api, "s", goal=_READY),
            median_of(f"{case}: CPU time until then", self.cpu, "s"),
            median_of(f"{case}: resident memory when idle", self.memory, "MiB", goal=_MEMORY),
        ]


async def run(options: Options) -> list[Result]:
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    fresh, existing = _Samples(), _Samples()
    for _ in range(rounds):
        data_dir = options.work / NAME
        shutil.rmtree(data_dir, ignore_errors=True)
        for samples in (fresh, existing):
            async with bench_server(data_dir) as server:
                samples.cpu.append(server.program.cpu_seconds())
                samples.healthz.append(server.ready.healthz)
                samples.api.append(server.ready.api)
                await asyncio.sleep(_QUICK_SETTLE_SECONDS if options.quick else _SETTLE_SECONDS)
                samples.memory.append(server.program.memory_mib())
    measures = [*fresh.measures("fresh database"), *existing.measures("existing database")]
    if options.imports:
        measures += await _imports("drover.server.app")
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings={"rounds": rounds})]


async def _imports(module: str, longest: int = 15) -> list[Measure]:
    """Where the time of importing goes: the packages whose own modules take longest, nested imports not counted."""
    argv = (sys.executable, "-X", "importtime", "-c", f"import {module}")
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment()
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    if process.returncode != 0:
        raise BenchError(f"import {module} failed: {errors.decode(errors='replace')[-500:]}")
    packages: dict[str, int] = {}
    for own, _, _, name in _IMPORT_LINE.findall(errors.decode()):
        package = ".".join(name.split(".")[: 2 if name.startswith("drover.") else 1])
        packages[package] = packages.get(package, 0) + int(own)
    total = sum(packages.values())
    by_time = sorted(packages.items(), key=lambda item: -item[1])[:longest]
    return [
        Measure(f"import {module}", significant(total / 1000), "ms", note="measured import by import, which slows it"),
        *(Measure(f"  {package}", significant(micros / 1000), "ms") for package, micros in by_time),
    ]
