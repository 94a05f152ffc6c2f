from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.placement.selectors import SelectorError, parse_selector

LABELS = {"tier": "Web", "zone": "a", "io.rancher.x/y": "1", "empty": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("tier=web", True),
        ("TIER = WEB", True),
        ("tier==web", True),
        ("tier=db", False),
        ("tier!=db", True),
        ("absent!=db", False),
        ("zone in (a, b)", True),
        ("zone in (c)", False),
        ("zone notin (c,d)", True),
        ("zone NOTIN (a)", False),
        ("tier", True),
        ("absent", False),
        ("empty=", True),
        ("io.rancher.x/y=1", True),
        ("tier=web, zone in (a,b), empty", True),
        ("tier=web, zone=b", False),
        ("", False),
        ("  ", False),
    ],
)
def test_matching(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["a b", "=x", "a in b", "a in (b", "a,,b", "a,", "(a)", "a=b=c", "!a", "x" * 5000])
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(text)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_selector(text).matches(LABELS)
    except SelectorError:
        return
