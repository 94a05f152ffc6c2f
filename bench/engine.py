"""Drover on a real engine, next to the engine's bare API and to Docker Swarm.

One host of the lab runs all of them in turn; the order changes from round to round, so that a slow moment of the
machine does not always meet the same one. While a rival works, Drover's agent is stopped and no swarm exists while
another works: nobody pays for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from bench.api import Api
from bench.docker_api import DockerApi
from bench.options import Options
from bench.priority import favour
from bench.processes import BenchError, Program
from bench.profiling import profiled
from bench.result import Goal, Measure, Result, at_most, median_of, significant
from bench.rivals import Drover, Raw, Rival, Swarm, raw_body
from lab import Lab, LabError, LabHost, record
from lab.lab import check_machine

NAME = "engine"
TITLE = "A service on a real engine: Drover, the bare API, Swarm"

_UP_SECONDS = 180.0
_REPLACED_SECONDS = 60.0
_RAW = at_most(1.15)
_SOONER = at_most(1.0)


@dataclass(frozen=True, slots=True)
class _Plan:
    containers: int
    rounds: int
    kills: int  # a round and rival
    concurrency: tuple[int, ...] = (4, 8)


_FULL = _Plan(containers=40, rounds=5, kills=3)
_QUICK = _Plan(containers=6, rounds=1, kills=1)


@dataclass(slots=True)
class _Samples:
    """Seconds. ``restarted`` counts the killed containers that were started again instead of replaced."""

    first: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    replaced: list[float] = field(default_factory=list)
    restarted: int = 0

    @property
    def how(self) -> str:
        return f"{self.restarted} of {len(self.replaced)} by starting the same container again"


@dataclass(slots=True)
class _Cost:
    """CPU seconds of Drover's programs while they brought containers up."""

    server: list[float] = field(default_factory=list)
    agent: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)


async def run(options: Options) -> list[Result]:
    plan = _QUICK if options.quick else _FULL
    try:
        check_machine()
    except LabError as missing:
        return [Result(bench=NAME, title=TITLE, skipped=str(missing))]
    async with Lab(hosts=1, server=True, agents=True, name=f"b{os.getpid()}") as lab:
        measures = await _compare(lab, plan, options)
    settings: dict[str, float | int | str] = {"containers": plan.containers, "rounds": plan.rounds}
    return [Result(bench=NAME, title=TITLE, measures=measures, settings=settings)]


async def _compare(lab: Lab, plan: _Plan, options: Options) -> tuple[Measure, ...]:
    host = lab.hosts[0]
    image = lab.image("lab/shell")
    timeout = aiohttp.ClientTimeout(total=60)
    async with DockerApi.open(host.docker_socket) as docker, aiohttp.ClientSession(timeout=timeout) as session:
        drover = await Drover.create(Api(session, lab.server_url), docker, image)
        body = await raw_body(docker, (await docker.containers(drover.label))[0])
        await drover.scale_down()
        contest = _Contest(lab, host, docker, plan, favoured=options.precedence)
        contest.favour()
        names = {"Drover": contest.drover_round(drover, options)}
        for concurrency in plan.concurrency:
            names[f"bare API, {concurrency} at a time"] = contest.raw_round(Raw(docker, body, concurrency))
        names["Swarm"] = contest.swarm_round(Swarm(docker, image, host.address))
        order = list(names)
        samples = {name: _Samples() for name in order}
        for number in range(plan.rounds):
            for name in (*order[number % len(order) :], *order[: number % len(order)]):
                await names[name](samples[name])
    return (*_rows(plan, samples), *_cost_rows(plan, contest.cost))


@dataclass(slots=True)
class _Contest:
    """One round of each rival: bring all containers up, kill a few, take all down."""

    lab: Lab
    host: LabHost
    docker: DockerApi
    plan: _Plan
    favoured: bool
    cost: _Cost = field(default_factory=_Cost)

    def favour(self) -> None:
        """The lab's programs run in sessions of their own, which do not inherit our precedence."""
        known = record.read(self.lab.layout.record)
        if self.favoured and known is not None:
            favour(process.pid for process in known.processes if process.alive())

    def drover_round(self, drover: Drover, options: Options) -> Callable[[_Samples], Awaitable[None]]:
        async def one(samples: _Samples) -> None:
            async with self._agent():
                server, agent = self._program("server"), self._program(f"{self.host.name}/agent")
                before = self._cpu()
                async with (
                    profiled(server, options.profile, "engine-server"),
                    profiled(agent, options.profile, "engine-agent"),
                ):
                    await self._up(drover, samples)
                self._note_cost(before)
                await drover.settled()
                await self._kill_some(drover, samples)
                await drover.settled()
                await drover.scale_down()

        return one

    def raw_round(self, raw: Raw) -> Callable[[_Samples], Awaitable[None]]:
        async def one(samples: _Samples) -> None:
            await self._up(raw, samples)
            await raw.scale_down()

        return one

    def swarm_round(self, swarm: Swarm) -> Callable[[_Samples], Awaitable[None]]:
        async def one(samples: _Samples) -> None:
            await swarm.join()
            try:
                await self._up(swarm, samples)
                await self._kill_some(swarm, samples)
                await swarm.scale_down()
            finally:
                await swarm.leave()

        return one

    async def _up(self, rival: Rival, samples: _Samples) -> None:
        """Seconds from the request until the engine has started the first and the last container."""
        count = self.plan.containers
        async with self.docker.watching(rival.label) as starts:
            began = time.time()
            await rival.scale_up(count)
            seen = await starts.until(count, _UP_SECONDS)
        samples.first.append(min(each.at for each in seen) - began)
        samples.seconds.append(max(each.at for each in seen) - began)

    async def _kill_some(self, rival: Rival, samples: _Samples) -> None:
        """Seconds from a kill until the engine has started a container in the killed one's place."""
        for number in range(self.plan.kills):
            victim = sorted(await self.docker.containers(rival.label))[number]
            async with self.docker.watching(rival.label) as starts:
                began = time.time()
                await self.docker.call("POST", f"containers/{victim}/kill")
                (replacement,) = await starts.until(1, _REPLACED_SECONDS)
            samples.replaced.append(replacement.at - began)
            samples.restarted += replacement.id == victim
            # The next kill must not meet an orchestrator that is still busy with this one.
            await asyncio.sleep(2.0)
        running = len(await self.docker.containers(rival.label))
        if running != self.plan.containers:
            raise BenchError(f"after {self.plan.kills} kills {running} of {self.plan.containers} containers run")

    @contextlib.asynccontextmanager
    async def _agent(self) -> AsyncIterator[None]:
        """The agent runs only here: it would hear of every rival's container and report it."""
        if record.read(self.lab.layout.record) is None:
            raise BenchError("the lab went away while it was measured")
        if not self._pid(f"{self.host.name}/agent"):
            await self.host.start_agent()
            self.favour()
            await asyncio.sleep(2.0)
        try:
            yield
        finally:
            await self.host.stop_agent()

    def _pid(self, role: str) -> int | None:
        known = record.read(self.lab.layout.record)
        process = known.find(role) if known else None
        return process.pid if process else None

    def _program(self, role: str) -> Program:
        pid = self._pid(role)
        if pid is None:
            raise BenchError(f"the lab's {role} does not run")
        return Program(role, pid, self.lab.server_log)

    def _cpu(self) -> tuple[float, float, float]:
        name = self.host.name
        engine = sum(self._program(f"{name}/{each}").cpu_seconds() for each in ("dockerd", "containerd"))
        return self._program("server").cpu_seconds(), self._program(f"{name}/agent").cpu_seconds(), engine

    def _note_cost(self, before: tuple[float, float, float]) -> None:
        after = self._cpu()
        self.cost.server.append(after[0] - before[0])
        self.cost.agent.append(after[1] - before[1])
        self.cost.engine.append(after[2] - before[2])


def _rows(plan: _Plan, samples: dict[str, _Samples]) -> list[Measure]:
    drover, swarm = samples["Drover"], samples["Swarm"]
    bare = {name: each for name, each in samples.items() if name not in ("Drover", "Swarm")}
    up = f"0 → {plan.containers} containers"
    measures = [median_of(f"{name}: {up}", each.seconds, "s") for name, each in samples.items()]
    measures += [median_of(f"{name}: the first of them", each.first, "s") for name, each in samples.items()]
    measures += [_ratio(f"Drover ÷ {name}", drover.seconds, each.seconds, _RAW) for name, each in bare.items()]
    measures += [
        _ratio("Drover ÷ Swarm", drover.seconds, swarm.seconds, _SOONER),
        median_of("Drover: killed container replaced", drover.replaced, "s", note=drover.how),
        median_of("Swarm: killed container replaced", swarm.replaced, "s", note=f"restart delay 0; {swarm.how}"),
        _ratio("replaced: Drover ÷ Swarm", drover.replaced, swarm.replaced, _SOONER),
    ]
    return measures


def _ratio(name: str, ours: Sequence[float], theirs: Sequence[float], goal: Goal) -> Measure:
    return Measure(
        name, significant(statistics.median(ours) / statistics.median(theirs)), goal=goal, note="ratio of medians"
    )


def _cost_rows(plan: _Plan, cost: _Cost) -> list[Measure]:
    cases = {"server": cost.server, "agent": cost.agent, "dockerd and containerd": cost.engine}
    return [
        median_of(f"Drover: CPU of {name} a container", [each / plan.containers * 1000 for each in seconds], "ms")
        for name, seconds in cases.items()
    ]
