"""What a table says about its values."""

import pytest

from bench.result import Measure, at_least, at_most, median_of, percentile, significant


def test_a_goal_includes_its_bound() -> None:
    assert Measure("m", 1.3, goal=at_most(1.3)).verdict == "met"
    assert Measure("m", 1.31, goal=at_most(1.3)).verdict == "missed"
    assert Measure("m", 200, goal=at_least(200)).verdict == "met"
    assert Measure("m", 199.9, goal=at_least(200)).verdict == "missed"
    assert Measure("m", 5).verdict == ""


def test_the_median_keeps_its_samples() -> None:
    found = median_of("m", [3.0, 1.0, 200.0], "s")
    assert found.value == 3.0
    assert found.samples == (3.0, 1.0, 200.0)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles_are_samples(share: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_the_percentile_of_few_samples_is_the_largest() -> None:
    assert percentile([1.0, 7.0, 3.0], 0.99) == 7.0


@pytest.mark.parametrize(("value", "expected"), [(0.0123456, 0.01235), (20_123.4, 20120.0), (0.0, 0.0)])
def test_rounding_keeps_four_digits(value: float, expected: float) -> None:
    assert significant(value) == expected
