"""What to do next for a service: a pure function from what shall be and what is to the smallest set of steps."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from drover.server.orchestration.services.digest import BROKEN, GONE, STARTING, STOPPED, Digest, Member, Status, Unit
from drover.server.orchestration.services.spec import LaunchConfig, ServiceSpec

# One plan never creates more containers than this: others get their turn, and memory stays bounded.
LARGEST_STEP = 500
_AT_REST = STOPPED | GONE | BROKEN


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to be made, with all its members."""

    index: int
    requested_host_id: int | None = None


@dataclass(slots=True)
class Steps:
    """What one pass does. ``waiting`` is true when members are still on their way to where they belong.

    ``recreate`` are the units that are replaced for their health; ``postponed`` more have to wait for their turn.
    """

    new_units: list[NewUnit] = field(default_factory=list)
    new_members: list[tuple[Unit, LaunchConfig]] = field(default_factory=list)
    remove_units: list[Unit] = field(default_factory=list)
    remove_members: list[Member] = field(default_factory=list)
    start: list[Member] = field(default_factory=list)
    recreate: list[Unit] = field(default_factory=list)
    postponed: int = 0
    waiting: bool = False
    more: bool = False

    @property
    def any(self) -> bool:
        return bool(self.new_units or self.new_members or self.remove_units or self.remove_members or self.start)


def plan(
    spec: ServiceSpec,
    digest: Digest,
    *,
    hosts: Collection[int],
    existing: Collection[int] | None = None,
    held: Collection[str] = (),
    recreations: int | None = None,
) -> Steps:
    """One pass.

    ``hosts`` are those that a global service must run on (ignored otherwise); ``existing`` all that are there and stay,
    in whatever state (None: nobody knows, so none is missed); ``held`` names units whose repair is
    postponed because it failed a moment ago; ``recreations`` is how many units may be replaced for their health.
    """
    steps = Steps()
    if not spec.configs:
        return steps
    doomed = _surplus(spec, digest, existing)
    steps.remove_units.extend(doomed[:LARGEST_STEP])
    steps.more = len(doomed) > LARGEST_STEP
    _repair(spec, digest, steps, {unit.uuid for unit in doomed}, held, recreations)
    if spec.is_global:
        _fill_hosts(digest, hosts, steps)
    else:
        _fill_scale(spec, digest, steps, len(doomed))
    steps.waiting = steps.waiting or bool(digest.by_status[Status.PENDING])
    return steps


def _wanted_units(digest: Digest) -> Iterable[Unit]:
    return (unit for unit in digest.units.values() if unit.record is not None)


def _surplus(spec: ServiceSpec, digest: Digest, existing: Collection[int] | None) -> list[Unit]:
    """Units beyond the scale: those without a container, then the youngest. Of a global service: all but one a host,
    and all of a host that leaves or is gone: what is removed there must not be made again.
    """
    if spec.is_global:
        return _doubles(digest, existing)
    surplus = digest.staying() - spec.scale
    if surplus <= 0:
        return []
    ranked = sorted(_wanted_units(digest), key=_dispensability, reverse=True)
    return ranked[:surplus]


def _dispensability(unit: Unit) -> tuple[bool, int, int]:
    return (not unit.members, unit.create_index, unit.index)


def _doubles(digest: Digest, existing: Collection[int] | None) -> list[Unit]:
    seen: set[int] = set()
    doubles: list[Unit] = []
    for unit in sorted(_wanted_units(digest), key=lambda unit: unit.create_index):
        host = unit.requested_host_id
        if host is None:
            continue
        if host in seen or (existing is not None and host not in existing):
            doubles.append(unit)
        seen.add(host)
    return doubles


def _repair(
    spec: ServiceSpec,
    digest: Digest,
    steps: Steps,
    doomed: set[str],
    held: Collection[str],
    recreations: int | None,
) -> None:
    for unit in list(digest.by_status[Status.BROKEN].values()):
        if unit.record is not None and unit.uuid not in doomed:
            _replace(spec, unit, {m.config for m in unit.living() if m.state in BROKEN}, steps)
    unhealthy = [unit for unit in _to_recreate(spec, digest) if unit.uuid not in doomed]
    steps.recreate = unhealthy[:recreations]
    steps.postponed = len(unhealthy) - len(steps.recreate)
    steps.waiting = steps.waiting or steps.postponed > 0
    for unit in steps.recreate:
        _replace(spec, unit, {m.config for m in unit.living()}, steps)
    for unit in list(digest.by_status[Status.INCOMPLETE].values()):
        if unit.record is None or unit.uuid in doomed:
            continue
        if unit.uuid in held:
            steps.waiting = True
        else:
            _complete(spec, unit, steps)
    for unit in list(digest.by_status[Status.STOPPED].values()):
        if unit.record is None or unit.uuid in doomed:
            continue
        if unit.uuid in held:
            steps.waiting = True
            continue
        by_config = unit.by_config()
        for config in spec.configs:
            member = by_config[config.name]
            if member.state in STOPPED and not (config.start_once and member.ran_once()):
                steps.start.append(member)


def _to_recreate(spec: ServiceSpec, digest: Digest) -> list[Unit]:
    """Unhealthy units, unless the strategy says that too few would be left."""
    unhealthy = [unit for unit in digest.by_status[Status.UNHEALTHY].values() if unit.record is not None]
    if unhealthy and spec.health_strategy == "recreateOnQuorum":
        good = digest.by_status[Status.GOOD].values()
        if sum(not any(member.initializing for member in unit.living()) for unit in good) < spec.health_quorum:
            return []
    return unhealthy


def _replace(spec: ServiceSpec, unit: Unit, configs: set[str], steps: Steps) -> None:
    """Remove some members and those that depend on them; the next pass makes them anew in the same unit."""
    affected = spec.dependants(configs)
    steps.remove_members.extend(m for m in unit.living() if m.config in affected)
    steps.waiting = True


def _complete(spec: ServiceSpec, unit: Unit, steps: Steps) -> None:
    present = unit.by_config()
    missing = [config for config in spec.configs if config.name not in present]
    stale = spec.dependants({config.name for config in missing}) - {config.name for config in missing}
    dependants = [present[name] for name in stale if name in present]
    if dependants:
        steps.remove_members.extend(dependants)
        steps.waiting = True
        return
    if not spec.start_first and any(m.upgrade and m.state not in _AT_REST for m in unit.members.values()):
        steps.waiting = True  # stop-first: the old version makes room before the new one comes
        return
    leaving = any(
        m.state in GONE or m.state == "stopping" for m in unit.members.values() if m.config in _names(missing)
    )
    if leaving and unit.requested_host_id is None and _holds_something(missing):
        steps.waiting = True  # its ports and addresses are free only when it is gone
        return
    if len(steps.new_members) < LARGEST_STEP:
        steps.new_members.extend((unit, config) for config in missing)
    else:
        steps.more = True


def _names(configs: list[LaunchConfig]) -> set[str]:
    return {config.name for config in configs}


def _holds_something(configs: list[LaunchConfig]) -> bool:
    return any(config.fields.get("ports") or config.fields.get("requestedIpAddress") for config in configs)


def _fill_scale(spec: ServiceSpec, digest: Digest, steps: Steps, doomed: int) -> None:
    missing = spec.scale - (digest.staying() - doomed)
    if missing <= 0:
        return
    used = {unit.index for unit in digest.units.values() if unit.record is not None}
    free = (index for index in itertools.count(1) if index not in used)
    room = max(1, LARGEST_STEP // len(spec.configs))
    steps.new_units.extend(NewUnit(next(free)) for _ in range(min(missing, room)))
    steps.more = steps.more or missing > room


def _fill_hosts(digest: Digest, hosts: Collection[int], steps: Steps) -> None:
    covered = {unit.requested_host_id for unit in digest.units.values() if unit.record is not None}
    used = {unit.index for unit in digest.units.values() if unit.record is not None}
    free = (index for index in itertools.count(1) if index not in used)
    steps.new_units.extend(NewUnit(next(free), host) for host in sorted(hosts) if host not in covered)


def converged(spec: ServiceSpec, digest: Digest, steps: Steps) -> bool:
    """True when the pass found nothing to do and nothing to wait for."""
    leftovers = any(m.state in STARTING for unit in digest.by_status[Status.PENDING].values() for m in unit.living())
    return not (steps.any or steps.waiting or steps.more or leftovers)
