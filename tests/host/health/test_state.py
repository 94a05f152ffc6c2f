"""How results of probes add up."""

from __future__ import annotations

import pytest

from drover.host.health.state import CheckState

CASES = [
    # rise, fall, results, status after each
    (2, 3, "+", ["UP"]),
    (2, 3, "-", ["DOWN"]),
    (2, 3, "+---", ["UP", "UP 2/3", "UP 1/3", "DOWN"]),
    (2, 3, "+--+--", ["UP", "UP 2/3", "UP 1/3", "UP", "UP 2/3", "UP 1/3"]),
    (2, 3, "-++", ["DOWN", "DOWN 1/2", "UP"]),
    (2, 3, "-+-++", ["DOWN", "DOWN 1/2", "DOWN", "DOWN 1/2", "UP"]),
    (1, 1, "+-+", ["UP", "DOWN", "UP"]),
    (3, 1, "-+++", ["DOWN", "DOWN 1/3", "DOWN 2/3", "UP"]),
]


@pytest.mark.parametrize(("rise", "fall", "results", "statuses"), CASES)
def test_statuses(rise: int, fall: int, results: str, statuses: list[str]) -> None:
    state = CheckState(rise, fall)
    assert state.status == f"UP 1/{fall}"

    seen = []
    for result in results:
        state.take(result == "+")
        seen.append(state.status)

    assert seen == statuses


def test_only_turning_points_are_told() -> None:
    state = CheckState(2, 3)

    assert [state.take(result == "+") for result in "++---+-++"] == [
        True, False, False, False, True, False, False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("results", "failing"), [("", False), ("+", False), ("+-", True), ("+---", True), ("-+", False)]
)
def test_what_is_failing(results: str, failing: bool) -> None:
    state = CheckState(2, 3)
    for result in results:
        state.take(result == "+")

    assert state.failing is failing
