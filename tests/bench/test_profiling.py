"""Stacks as py-spy writes them, added up by function."""

import pytest

from bench.profiling import aggregate, table

RAW = """\
main (drover/cli/main.py:9);get (drover/server/store/store.py:5);execute (sqlalchemy/engine/base.py:77) 6
main (drover/cli/main.py:9);get (drover/server/store/store.py:8) 1
main (drover/cli/main.py:9);walk (drover/server/store/store.py:20);walk (drover/server/store/store.py:21) 3
"""


def test_shares_by_function() -> None:
    costs = {each.function: each for each in aggregate(RAW)}
    get = costs["get (drover/server/store/store.py)"]
    assert (get.own, get.charged, get.total) == pytest.approx((0.1, 0.7, 0.7))
    library = costs["execute (sqlalchemy/engine/base.py)"]
    assert (library.own, library.charged) == pytest.approx((0.6, 0.0))


def test_a_recursive_function_counts_once_a_stack() -> None:
    walk = next(each for each in aggregate(RAW) if each.function.startswith("walk"))
    assert walk.total == pytest.approx(0.3)


def test_charged_shares_add_up() -> None:
    assert sum(each.charged for each in aggregate(RAW)) == pytest.approx(1.0)


def test_the_table_begins_with_what_costs_most() -> None:
    first = table(aggregate(RAW)).splitlines()[1]
    assert first.split() == ["70.0%", "10.0%", "70.0%", "get", "(drover/server/store/store.py)"]
