"""Services that grow by themselves: one increment at a time, as long as there is room for it."""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.orchestration.services.spec import ServiceSpec


@dataclass(frozen=True, slots=True)
class Scale:
    """What is aimed at now, and what is known to fit."""

    desired: int
    locked: int


class Growth:
    """Whether growing may succeed: not with the hosts and resources with which it has failed before.

    They are counted by generation, because they may change between an attempt and the news of its failure; that
    failure then says nothing about what is there now.
    """

    def __init__(self) -> None:
        self._generation = 0
        self._tried = 0
        self._failed: int | None = None

    @property
    def worth_trying(self) -> bool:
        return self._failed != self._generation

    def reconsider(self) -> None:
        """Hosts, resources or the policy have changed."""
        self._generation += 1

    def begins(self) -> None:
        self._tried = self._generation

    def failed(self) -> None:
        self._failed = self._tried


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
