"""Services that grow by themselves: one increment at a time, as long as there is room for it."""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.orchestration.services.spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class Scale:
    """What is aimed at now, and what is known to fit."""

    desired: int
    locked: int


def next_scale(spec: ServiceSpec, *, converged: bool, failed: bool, may_grow: bool) -> Scale | None:
    """The next aim of a service with a scale policy; None when it stays as it is.

    What runs is locked in before the next increment; an increment that finds no room is taken back to it.
    ``may_grow`` is false after such a failure, until hosts or resources have changed.
    """
    policy = spec.policy
    if policy is None or spec.is_global:
        return None
    locked = max(policy.minimum, int(spec.record["lockedScale"] or policy.minimum))
    if failed and spec.scale > locked:
        return Scale(max(locked, spec.scale - policy.increment), locked)
    if not converged:
        return None
    if may_grow and spec.scale < policy.maximum:
        return Scale(min(policy.maximum, spec.scale + policy.increment), spec.scale)
    if spec.record["desiredScale"] != spec.scale or spec.record["lockedScale"] != spec.scale:
        return Scale(spec.scale, spec.scale)
    return None
