"""From results to reports: what the server is told, when, and what it is spared."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from drover.client.world import Change, Container, HealthCheck, Key, World
from drover.host.health.checker import Checker
from drover.host.health.checklist import Target
from drover.host.health.guard import Guard
from drover.host.health.reports import Reports
from tests.host.health.worlds import container, full

pytestmark = pytest.mark.anyio

KEY = "host-1_c1_1"
QUICK = HealthCheck(port=80, interval=20, healthy_threshold=2, unhealthy_threshold=3)


class Told(Reports):
    """Reports that are only written down."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/v1", "key", "secret")
        self.said: list[tuple[str, str]] = []

    def tell(self, key: str, verdict: str) -> None:
        self.said.append((key, verdict))


@dataclass
class Bench:
    """A checker whose probes the test answers: `down` names the containers that fail."""

    world: World = field(default_factory=World)
    told: Told = field(default_factory=Told)
    down: set[str] = field(default_factory=set)
    probed: list[str] = field(default_factory=list)
    debounce: float = 0.03

    def __post_init__(self) -> None:
        self.checker = Checker(self.world, self.told, probe=self.probe, debounce=self.debounce)

    async def probe(self, target: Target) -> str | None:
        self.probed.append(target.key)
        return "refused" if target.container in self.down else None

    def begin(self, *containers: Container) -> None:
        self.checker.follow(self.world.apply(full(*containers)))

    def change(self, *changed: Any, gone: tuple[Key, ...] = ()) -> None:
        revision = self.world.revision
        frame = Change(epoch="e", since=revision, revision=revision + 1, changed=changed, gone=gone)
        self.checker.follow(self.world.apply(frame))

    async def until(self, *said: tuple[str, str]) -> None:
        async with asyncio.timeout(60):
            while self.told.said != list(said):
                await asyncio.sleep(0.002)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        task = asyncio.create_task(self.checker.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_first_success_is_told_at_once_and_only_once() -> None:
    async with Bench(debounce=60).running() as bench:
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "UP"))
        async with asyncio.timeout(60):
            while len(bench.probed) < 5:
                await asyncio.sleep(0.002)

        assert bench.told.said == [(KEY, "UP")]


async def test_down_and_up_again() -> None:
    async with Bench().running() as bench:
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "UP"))
        bench.down.add("c1")
        await bench.until((KEY, "UP"), (KEY, "DOWN"))
        bench.down.clear()
        await bench.until((KEY, "UP"), (KEY, "DOWN"), (KEY, "UP"))


async def test_a_recovery_that_does_not_last_is_not_told() -> None:
    async with Bench(debounce=0.2).running() as bench:
        bench.down.add("c1")
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "DOWN"))
        bench.down.clear()
        async with asyncio.timeout(60):
            while not bench.checker.checks[KEY].state.up:
                await asyncio.sleep(0.002)
        assert bench.told.said == [(KEY, "DOWN")]
        bench.down.add("c1")
        async with asyncio.timeout(60):
            while bench.checker.checks[KEY].state.up:
                await asyncio.sleep(0.002)

        assert bench.checker.checks[KEY].recovery is None


async def test_counts_survive_changes_of_the_environment() -> None:
    async with Bench().running() as bench:
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "UP"))
        before = bench.checker.checks[KEY].state

        bench.change(container("c2", health_check=QUICK), container(health_check=QUICK, primary_ip="10.42.0.99"))

        assert bench.checker.checks[KEY].state is before
        assert bench.checker.checks[KEY].target.address == "10.42.0.99"


async def test_another_start_begins_anew() -> None:
    async with Bench().running() as bench:
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "UP"))

        bench.change(container(health_check=QUICK, start_count=2))

        await bench.until((KEY, "UP"), ("host-1_c1_2", "UP"))


async def test_what_is_gone_is_not_probed() -> None:
    async with Bench().running() as bench:
        bench.begin(container(health_check=QUICK))
        await bench.until((KEY, "UP"))

        bench.change(gone=(Key("container", "c1"),))

        assert bench.checker.checks == {}


# The guard


@dataclass
class Doubts:
    """A guard whose surroundings the test decides."""

    failing: tuple[int, int] = (10, 10)
    peers: tuple[str, ...] = ("10.42.0.2",)
    reachable: bool = False
    released: list[str] = field(default_factory=list)
    paused: list[float] = field(default_factory=list)

    def guard(self) -> Guard:
        async def reach(_peer: str) -> bool:
            return self.reachable

        async def pause(seconds: float) -> None:
            self.paused.append(seconds)
            await asyncio.sleep(0)

        return Guard(
            release=self.released.extend,
            failing=lambda _held: self.failing,
            peers=lambda: self.peers,
            reach=reach,
            pause=pause,
        )

    async def down(self, *keys: str) -> list[str]:
        """What is reported of these, after all."""
        guard = self.guard()
        task = asyncio.create_task(guard.run())
        for key in keys:
            guard.down(key, 2.0)
        async with asyncio.timeout(60):
            while not self.released:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return self.released


async def test_one_container_that_fails_alone_is_told_at_once() -> None:
    doubts = Doubts(failing=(1, 10))

    assert await doubts.down("a") == ["a"]
    assert doubts.paused == []


async def test_most_may_fail_if_other_checkers_are_reached() -> None:
    doubts = Doubts(reachable=True)

    assert await doubts.down("a", "b", "c") == ["a", "b", "c"]
    assert doubts.paused == []


async def test_a_host_that_is_cut_off_holds_back_for_half_a_minute() -> None:
    doubts = Doubts()

    await doubts.down("a", "b", "c")

    assert sum(doubts.paused) == 30.0


async def test_without_others_to_compare_with_one_interval_is_waited() -> None:
    doubts = Doubts(peers=())

    await doubts.down("a", "b", "c")

    assert doubts.paused == [2.0]


async def test_what_recovers_meanwhile_is_never_told() -> None:
    doubts = Doubts()
    guard = doubts.guard()
    guard.down("a", 2.0)
    guard.down("b", 2.0)
    guard.forget("a")
    task = asyncio.create_task(guard.run())
    async with asyncio.timeout(60):
        while not doubts.released:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert doubts.released == ["b"]


async def test_the_checker_counts_what_fails_among_what_was_well() -> None:
    bench = Bench()
    bench.begin(*(container(f"c{number}", health_check=QUICK) for number in range(4)))
    checks = list(bench.checker.checks.values())
    for check in checks:
        check.state.take(True)
    checks[0].state.take(False)
    checks[1].state.up = False

    assert bench.checker._failing({checks[1].target.key}) == (2, 4)
    assert bench.checker._failing(set()) == (1, 3)
    await bench.checker.schedule.close()
