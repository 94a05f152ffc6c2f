"""Variables in text: the grammar of Rancher 1.6 and the operators of docker-compose."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.interpolate import Interpolator
from drover.compose.nodes import to_plain
from drover.compose.yaml import parse

MARK = Mark("f.yml", 3, 7)
VARIABLES = {"A": "1", "EMPTY": "", "B_2": "two", "1X": "digit", "D": "$A"}


def expand(text: str, problems: Problems | None = None) -> str:
    return Interpolator(VARIABLES, problems or Problems()).text(text, "image", MARK)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$A", "1"),
        ("${A}", "1"),
        ("x$A-$B_2.y", "x1-two.y"),
        ("$$", "$"),
        ("$$A", "$A"),
        ("$${stack_name}/$${service_name}", "${stack_name}/${service_name}"),
        ("$$$A", "$1"),
        ("${1X}", "digit"),
        ("$EMPTY", ""),
        ("$D", "$A"),
        ("${A:-x}", "1"),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-x y}", "x y"),
        ("${EMPTY-x}", ""),
        ("${NONE-x}", "x"),
        ("${NONE:-}", ""),
        ("${NONE:-${A}}", "1"),
        ("${NONE:-a${NONE:-b}c}", "abc"),
        ("${NONE:-$$}", "$"),
        ("${NONE:-http://h:80/}", "http://h:80/"),
        ("${A:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${NONE+yes}", ""),
        ("${A:?needed}", "1"),
        ("${EMPTY?needed}", ""),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expand(text) == result


@pytest.mark.parametrize(
    "text", ["${}", "$1", "$ ", "$(", "$", "a$", "${A", "${A!b}", "${ A}", "$-", "${A:b}", "${-x}"]
)
def test_bad_syntax_names_key_and_text(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        expand(text)
    assert caught.value.message == f'Invalid interpolation format for key "image": "{text}"'
    assert caught.value.mark == MARK


@pytest.mark.parametrize(
    ("text", "reason"), [("${NONE:?set it}", "set it"), ("${EMPTY:?}", "no value"), ("${NONE?x}", "x")]
)
def test_required_variables(text: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        expand(text)


def test_unset_variable_is_empty_with_a_warning() -> None:
    problems = Problems()
    assert expand("a${NONE}b", problems) == "ab"
    assert [str(p) for p in problems.warnings] == [
        "f.yml:3:7: the variable NONE is not set; it is replaced by nothing (set NONE)"
    ]


def test_only_values_are_interpolated_never_keys() -> None:
    root = parse("$A: [$A, {x: '${B_2}', n: 5}]", file="f.yml", problems=Problems())
    node = Interpolator(VARIABLES, Problems()).node(root, "")
    assert to_plain(node) == {"$A": ["1", {"x": "two", "n": 5}]}


def test_output_is_limited() -> None:
    interpolator = Interpolator({"BIG": "x" * 100_000}, Problems())
    with pytest.raises(Invalid, match="expand to more than"):
        interpolator.text("$BIG" * 100, "image", MARK)


def test_nesting_is_limited() -> None:
    with pytest.raises(Invalid):
        expand("${NONE:-" * 1000 + "}" * 1000)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("$${}AB:-?+x 1_\n"), max_size=60))
def test_any_text_expands_or_is_refused(text: str) -> None:
    with suppress(Invalid):
        assert isinstance(expand(text), str)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_doubled_dollars_give_the_text_back(text: str) -> None:
    assert expand(text.replace("$", "$$")) == text
