"""What a bench found: rows of measured values, some with a goal, and the samples behind them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec

from bench.machine import Machine


class Goal(msgspec.Struct, frozen=True):
    """A value is good on one side of ``bound``, the bound included."""

    side: Literal["<=", ">="]
    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound if self.side == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.side == '<=' else '≥'} {self.bound:g}"


def at_most(bound: float) -> Goal:
    return Goal("<=", bound)


def at_least(bound: float) -> Goal:
    return Goal(">=", bound)


class Measure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row. ``samples`` are the values that ``value`` is the median (or what ``note`` says) of."""

    name: str
    value: float
    unit: str = ""
    goal: Goal | None = None
    note: str = ""
    samples: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "met" if self.goal.met(self.value) else "missed"


class Result(msgspec.Struct, frozen=True):
    """One bench's table. ``skipped`` says why there is nothing to show."""

    bench: str
    title: str
    measures: tuple[Measure, ...] = ()
    machine: Machine | None = None
    seconds: float = 0.0
    settings: dict[str, float | int | str] = {}
    skipped: str = ""


def median_of(
    name: str, samples: Sequence[float], unit: str = "", *, goal: Goal | None = None, note: str = ""
) -> Measure:
    """The median of repeated runs; a single slow run of a shared machine does not decide."""
    return Measure(
        name=name,
        value=significant(statistics.median(samples)),
        unit=unit,
        goal=goal,
        note=note,
        samples=tuple(significant(each) for each in samples),
    )


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` (0 to 1) of the samples do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def significant(value: float, digits: int = 4) -> float:
    """Rounded to what the measurement can mean; keeps the written results readable."""
    return float(f"{value:.{digits}g}")
