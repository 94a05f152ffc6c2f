"""Results as files."""

from pathlib import Path

import msgspec
import pytest

from bench.report import number, write
from bench.result import Measure, Result, at_most


def test_a_run_keeps_what_others_wrote(tmp_path: Path) -> None:
    write([Result("idle", "Idle", (Measure("CPU", 0.25, "%", at_most(5)),))], tmp_path)
    page = write([Result("scale", "Scale", (Measure("rate", 341.0, "/s"),))], tmp_path)
    text = page.read_text()
    assert "| CPU | 0.25 % | ≤ 5 | met |  |" in text
    assert "| rate | 341 /s |  |  |  |" in text


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        write([Result("idle", "Idle", (Measure("CPU", value, "%"),))], tmp_path)
    stored = msgspec.json.decode((tmp_path / "idle.json").read_bytes(), type=Result)
    assert [each.value for each in stored.measures] == [2.0]


def test_a_skipped_bench_does_not_replace_what_was_measured(tmp_path: Path) -> None:
    write([Result("engine", "Engine", (Measure("up", 4.0, "s"),))], tmp_path)
    page = write([Result("engine", "Engine", skipped="no Docker")], tmp_path)
    assert "| up | 4 s |" in page.read_text()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.2345, "1.23"), (51.23, "51.2"), (341.2, "341"), (20_000, "20,000")],
)
def test_numbers_show_the_digits_that_mean_something(value: float, shown: str) -> None:
    assert number(value) == shown
