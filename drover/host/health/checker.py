"""The checker itself: targets come and go with the environment, results become verdicts, verdicts become reports."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import structlog

from drover.client.world import Delta, World
from drover.host.health.checklist import Checklist, Differences, Target, peers_of
from drover.host.health.guard import Guard
from drover.host.health.metrics import PROBES_BAD, PROBES_GOOD
from drover.host.health.probe import Probe, probe
from drover.host.health.reports import DOWN, UP, Reports
from drover.host.health.schedule import Schedule
from drover.host.health.state import FALL, RISE, CheckState

log = structlog.get_logger(__name__)

DEBOUNCE_SECONDS = 2.0
"""A target that was down must stay up for so long before the server hears of it."""
REMIND_SECONDS = 30.0
"""How long the server may show a container as not healthy after it has taken our word that it is."""
_NOT_HEALTHY = frozenset({"initializing", "reinitializing", "unhealthy"})
_PEER_SECONDS = 2.0


@dataclass(slots=True)
class _Check:
    """One target with its counts. `reason` says why the last probe failed."""

    target: Target
    state: CheckState
    reason: str | None = None
    recovery: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        if self.recovery is not None:
            self.recovery.cancel()
            self.recovery = None


@dataclass(slots=True)
class Checker:
    """Feed it with deltas (`follow`) and run `run`; `probe` is how it looks at a target."""

    world: World
    reports: Reports
    probe: Probe = probe
    concurrency: int = 256
    debounce: float = DEBOUNCE_SECONDS
    checks: dict[str, _Check] = field(default_factory=dict)
    checklist: Checklist = field(init=False)
    schedule: Schedule = field(init=False)
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.checklist = Checklist(self.world)
        self.schedule = Schedule(self._check, self.concurrency)
        self.guard = Guard(
            release=self._report_down, failing=self._failing, peers=lambda: peers_of(self.world), reach=reach
        )

    async def run(self) -> None:
        """Check until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.guard.run(), name="guard")
                group.create_task(self._remind(), name="remind")
        finally:
            for check in self.checks.values():
                check.settle()
            await self.schedule.close()

    def follow(self, delta: Delta) -> Differences:
        """The world changed. Checks that stay the same keep their counts and their rhythm."""
        differences = self.checklist.follow(delta)
        for key in differences.removed:
            self._drop(key)
        for target in differences.changed:
            check = self.checks[target.key]
            check.target = target
            check.state.rise, check.state.fall = target.rise or RISE, target.fall or FALL
            self.schedule.add(target.key, target.interval)
        for target in differences.added:
            self.checks[target.key] = _Check(target, CheckState(target.rise or RISE, target.fall or FALL))
            self.schedule.add(target.key, target.interval)
        if differences.added or differences.removed:
            log.debug("health.targets", added=len(differences.added), removed=len(differences.removed))
        return differences

    def count(self) -> dict[str, int]:
        """How many targets are up, down, or not known yet."""
        states = [check.state.up for check in self.checks.values()]
        return {"up": states.count(True), "down": states.count(False), "unknown": states.count(None)}

    def _drop(self, key: str) -> None:
        check = self.checks.pop(key, None)
        if check is not None:
            check.settle()
        self.schedule.remove(key)
        self.guard.forget(key)
        self.reports.forget(key)

    # Results

    async def _check(self, key: str) -> None:
        check = self.checks.get(key)
        if check is None:
            return
        reason = await self.probe(check.target)
        (PROBES_BAD if reason else PROBES_GOOD).inc()
        if self.checks.get(key) is check:
            self.take(check, reason)

    def take(self, check: _Check, reason: str | None) -> None:
        """Count a result, and say what follows from it."""
        first = check.state.up is None
        check.reason = reason
        if not check.state.take(reason is None):
            return
        key, name = check.target.key, check.target.name
        if check.state.up:
            self.guard.forget(key)
            if first:
                self.reports.tell(key, UP)
            else:
                check.settle()
                check.recovery = asyncio.get_running_loop().call_later(self.debounce, self._recovered, check)
            return
        check.settle()
        log.info("health.down", container=name, address=check.target.address, port=check.target.port, reason=reason)
        self.guard.down(key, check.target.interval)

    def _recovered(self, check: _Check) -> None:
        check.recovery = None
        log.info("health.up", container=check.target.name)
        self.reports.tell(check.target.key, UP)

    # The guard

    def _report_down(self, keys: Collection[str]) -> None:
        for key in keys:
            check = self.checks.get(key)
            if check is not None and check.state.up is False:
                self.reports.tell(key, DOWN)

    def _failing(self, held: Collection[str]) -> tuple[int, int]:
        failing = known = 0
        for key, check in self.checks.items():
            if key in held or check.state.up:
                known += 1
                failing += key in held or check.state.failing
        return failing, known

    # Anti-entropy

    async def _remind(self) -> None:
        """A server that lost a verdict (restored from a backup, say) hears it again."""
        while True:
            await asyncio.sleep(REMIND_SECONDS)
            self.remind()

    def remind(self) -> None:
        for key, check in self.checks.items():
            container = self.world.containers.get(check.target.container)
            if check.state.up and container is not None and container.health_state in _NOT_HEALTHY:
                self.reports.repeat(key, after=REMIND_SECONDS)


async def reach(address: str) -> bool:
    """Whether the checker at an address takes connections."""
    target = Target("", "", "", address, 42, None, _PEER_SECONDS, _PEER_SECONDS, _PEER_SECONDS, None, None)
    return await probe(target) is None
