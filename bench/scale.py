"""One service scaled to many containers on simulated hosts: throughput, cost, and how the cost grows.

The hosts run in a process of their own and speak the real agent protocol, so the server does all the work of real
hosts; what an engine would do takes no time. Each size gets a fresh server; small and large rounds alternate. The
last large world stays up for three more questions: what another 2,000 containers cost there, how fast the API
lists them, and what the server does when nobody asks for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import lists
from bench.options import Options
from bench.processes import BenchError, Program
from bench.profiling import profiled
from bench.result import Measure, Result, at_least, at_most, median_of, significant
from bench.server import BenchServer, bench_server, simulated_hosts

NAME = "scale"
TITLE = "One service scaled up on simulated hosts"

_STATEMENTS = "drover_store_statements_total"
_SLOWEST = 40.0  # containers/s below which a round is given up
_RATE = at_least(200.0)
_GROWTH = at_most(1.3)


@dataclass(frozen=True, slots=True)
class _Plan:
    hosts: int
    small: int
    large: int
    rounds: int
    settle_seconds: float  # the hosts list their containers every quarter of a minute; what changed is compared once
    idle_seconds: float
    list_requests: int


_FULL = _Plan(hosts=100, small=2_000, large=20_000, rounds=2, settle_seconds=20.0, idle_seconds=30.0, list_requests=300)
_QUICK = _Plan(hosts=20, small=200, large=1_000, rounds=1, settle_seconds=1.0, idle_seconds=5.0, list_requests=50)


@dataclass(frozen=True, slots=True)
class Step:
    """What it took to bring ``count`` more containers from the request to running."""

    count: int
    seconds: float
    settled_seconds: float
    server_cpu: float
    simulator_cpu: float
    statements: float

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cost_ms(self) -> float:
        """The server's CPU time a container, in milliseconds."""
        return self.server_cpu / self.count * 1000


@dataclass(frozen=True, slots=True)
class _World:
    server: BenchServer
    simulator: Program
    service_id: str


async def run(options: Options) -> list[Result]:
    plan = _QUICK if options.quick else _FULL
    small: list[Step] = []
    large: list[Step] = []
    peaks: dict[int, list[float]] = {plan.small: [], plan.large: []}
    for number in range(plan.rounds):
        last = number == plan.rounds - 1
        async with _world(options, plan.hosts) as world:
            small.append(await _scale(world, 1, plan.small))
            peaks[plan.small].append(world.server.program.peak_memory_mib())
        async with _world(options, plan.hosts) as world:
            async with profiled(world.server.program, options.profile if last else None, "scale-server"):
                large.append(await _scale(world, 1, plan.large))
            peaks[plan.large].append(world.server.program.peak_memory_mib())
            if last:
                idle = await _idle_cpu(world.server, plan.settle_seconds, plan.idle_seconds)
                listing = await lists.measure(world.server, plan.large, plan.list_requests)
                on_top = await _scale(world, plan.large, plan.large + plan.small)
    measures = [
        *_of_size(plan.small, small, peaks[plan.small]),
        *_of_size(plan.large, large, peaks[plan.large]),
        *_growth(plan, small, large, on_top),
        Measure(f"idle with {plan.large:,} containers: server CPU", significant(idle), "% of a core"),
    ]
    settings: dict[str, float | int | str] = {"hosts": plan.hosts, "rounds": plan.rounds}
    return [
        Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=settings),
        Result(bench=lists.NAME, title=lists.TITLE, measures=listing, settings={"containers": plan.large}),
    ]


@contextlib.asynccontextmanager
async def _world(options: Options, hosts: int) -> AsyncIterator[_World]:
    """A fresh server with hosts and a service of one container, so that no first-time work is counted."""
    data_dir = _fresh(options.work)
    async with bench_server(data_dir) as server, simulated_hosts(server, hosts) as simulator:
        service_id = await server.create_service("web", 1)
        await asyncio.sleep(1.0)
        yield _World(server, simulator, service_id)


def _fresh(work: Path) -> Path:
    taken = len(list(work.glob(f"{NAME}-*")))
    return work / f"{NAME}-{taken}"


async def _scale(world: _World, present: int, wanted: int) -> Step:
    server = world.server
    count = wanted - present
    statements = await server.metric(_STATEMENTS)
    server_cpu, simulator_cpu = server.program.cpu_seconds(), world.simulator.cpu_seconds()
    began = time.monotonic()
    deadline = began + 60.0 + count / _SLOWEST
    await server.put(f"services/{world.service_id}", {"scale": wanted})
    while (running := server.count("instance", "running")) < wanted:
        if time.monotonic() > deadline:
            raise BenchError(f"{running} of {wanted} containers run; {server.program.last_words()}")
        await asyncio.sleep(0.1)
    seconds = time.monotonic() - began
    await server.until_service(world.service_id, "active", timeout=60.0, poll=0.2)
    return Step(
        count=count,
        seconds=seconds,
        settled_seconds=time.monotonic() - began,
        server_cpu=server.program.cpu_seconds() - server_cpu,
        simulator_cpu=world.simulator.cpu_seconds() - simulator_cpu,
        statements=await server.metric(_STATEMENTS) - statements,
    )


async def _idle_cpu(server: BenchServer, settle_seconds: float, seconds: float) -> float:
    """Per cent of one core, once the work of the scale-up has settled."""
    await asyncio.sleep(settle_seconds)
    before = server.program.cpu_seconds()
    await asyncio.sleep(seconds)
    return (server.program.cpu_seconds() - before) / seconds * 100


def _of_size(size: int, steps: Sequence[Step], peaks: Sequence[float]) -> list[Measure]:
    case = f"1 → {size:,}"
    return [
        median_of(f"{case}: containers from request to running", [s.rate for s in steps], "/s", goal=_RATE),
        median_of(f"{case}: until all run", [s.seconds for s in steps], "s"),
        median_of(f"{case}: until the service says so", [s.settled_seconds for s in steps], "s"),
        median_of(f"{case}: server CPU a container", [s.cost_ms for s in steps], "ms"),
        median_of(f"{case}: simulator CPU a container", [s.simulator_cpu / s.count * 1000 for s in steps], "ms"),
        median_of(f"{case}: statements a container", [s.statements / s.count for s in steps]),
        median_of(f"{case}: peak resident memory of the server", peaks, "MiB"),
    ]


def _growth(plan: _Plan, small: Sequence[Step], large: Sequence[Step], on_top: Step) -> list[Measure]:
    base = statistics.median(step.cost_ms for step in small)
    fresh = statistics.median(step.cost_ms for step in large)
    return [
        Measure(f"CPU a container at {plan.large:,} ÷ at {plan.small:,}", significant(fresh / base), goal=_GROWTH),
        Measure(f"{plan.large:,} + {plan.small:,}: containers from request to running", significant(on_top.rate), "/s"),
        Measure(
            f"{plan.large:,} + {plan.small:,}: CPU a container ÷ at {plan.small:,}",
            significant(on_top.cost_ms / base),
            goal=_GROWTH,
            note="containers that come on top of many",
        ),
        Measure(
            f"{plan.large:,} + {plan.small:,}: statements a container", significant(on_top.statements / on_top.count)
        ),
    ]
