"""The health of services, stacks and environments, added up from their members.

Recomputed from the reconcile loop's digest, so it costs a pass over numbers in memory; written only when it changes.
Rules: Rancher 1.6, with one difference: a service that an upgrade has left in ``upgraded`` counts as active.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drover.server.orchestration.services.digest import BROKEN, GONE, STARTED, Digest
from drover.server.orchestration.services.spec import ACTIVE_STATES

HEALTHY = "healthy"
UNHEALTHY = "unhealthy"
DEGRADED = "degraded"
INITIALIZING = "initializing"
STARTED_ONCE = "started-once"
_WELL = frozenset({HEALTHY, STARTED_ONCE})


@dataclass(frozen=True, slots=True)
class Part:
    """A service within a stack, or a stack within an environment."""

    state: str
    health: str


def service_health(digest: Digest, *, serving_hosts: set[int]) -> str:
    """The health of a service that deploys containers. Kinds that deploy none are always healthy."""
    spec = digest.spec
    if not spec.configs:
        return HEALTHY
    healthy = initializing = ran = members = 0
    for unit in digest.units.values():
        for member in unit.living():
            if member.state in GONE or member.state in BROKEN:
                continue
            if spec.is_global and member.record["hostId"] not in serving_hosts:
                continue
            members += 1
            config = spec.config(member.config)
            if config is not None and config.start_once and member.ran_once():
                ran += 1
            elif member.state in STARTED:
                healthy += member.healthy
                initializing += member.initializing
    minimum = spec.policy.minimum if spec.policy is not None else spec.scale
    expected = members if spec.is_global else minimum * len(spec.configs)
    if ran and ran >= expected:
        return STARTED_ONCE
    if healthy + ran >= expected and (members > 0 or not spec.is_global):
        return HEALTHY
    if initializing:
        return INITIALIZING
    return DEGRADED if healthy else UNHEALTHY


def combined_health(parts: Sequence[Part]) -> str:
    """The health of a stack from its services, or of an environment from its stacks."""
    living = [part for part in parts if part.state not in GONE]
    if not living:
        return HEALTHY
    if all(part.health == STARTED_ONCE for part in living):
        return STARTED_ONCE
    well = [part for part in living if part.state in ACTIVE_STATES and part.health in _WELL]
    if len(well) == len(living):
        return HEALTHY
    if _any(living, INITIALIZING):
        return INITIALIZING
    return DEGRADED if well or _any(living, DEGRADED) else UNHEALTHY


def _any(parts: Iterable[Part], health: str) -> bool:
    return any(part.health == health for part in parts)
