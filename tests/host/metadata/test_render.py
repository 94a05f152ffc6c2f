"""Values as text and as YAML."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.host.metadata.nodes import Node, Shelf, to_json
from drover.host.metadata.render import printed, to_text, to_yaml

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(documents)
def test_yaml_is_read_as_what_was_written(document: Any) -> None:
    assert yaml.safe_load(to_yaml(document)) == document


def test_a_large_document_is_yaml_in_flow_style() -> None:
    document = [{"name": f"name {number}", "odd": "\x85\u2028\x7f\ufeff<&>: - #"} for number in range(2000)]
    assert yaml.safe_load(to_yaml(document)) == document


@pytest.mark.parametrize("word", ["yes", "No", "null", "~", "1", "1.5", "0x1f", "2016-07-29", "a: b", "- a", "#x", ""])
def test_yaml_quotes_what_could_be_something_else(word: str) -> None:
    assert yaml.safe_load(to_yaml({word: [word]})) == {word: [word]}


@settings(deadline=None)
@given(documents)
def test_json_is_read_as_what_was_written(document: Any) -> None:
    data = to_json(document)
    assert msgspec.json.decode(data) == document
    assert not {b"<", b">", b"&"} & {data[at : at + 1] for at in range(len(data))}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (12, "12"),
        (0.5, "0.5"),
        (2.0, "2"),
        (1 / 3, "0.333333"),
        (1e15, "1000000000000000"),
        ("two\nlines", "two\nlines"),
        ([], ""),
        ({}, ""),
        ({"b": [], "a": {}, "c": 1}, "a/\nb/\nc\n"),
        ([{"name": None, "uuid": "u"}, {"name": "a b"}, {}, 5, "x", []], "0=u\n1=a+b\n2/\n3\n4\n5/\n"),
    ],
)
def test_text(value: Any, text: str) -> None:
    assert to_text(value) == text.encode()


def test_what_a_long_poll_compares() -> None:
    assert printed(None) == printed(Shelf()) == "<nil>"
    assert printed(Shelf(null_when_empty=False)) == ""
    assert printed(3) == "3"
    assert math.isclose(float(printed(0.25)), 0.25)


def test_a_node_whose_children_come_first_or_last() -> None:
    child = Node("c", "child")
    child.render({"name": "child"})
    for key in ("a", "m", "z"):
        shelf = Shelf()
        shelf.add(child)
        node = Node("n", "node", child_key=key, children=shelf)
        for fields in ({}, {"k": 1}, {"k": 1, "y": None}):
            node.render(fields)
            assert msgspec.json.decode(to_json(node)) == {**fields, key: [{"name": "child"}]}
            assert node.fields() == {**fields, key: shelf}


@pytest.mark.parametrize("name", ["", "web", "a.b-c_d~e", "a b", "a/b", "ä", "a\n", "a+b", "a%b", "'"])
def test_labels_are_escaped_like_parts_of_a_query(name: str) -> None:
    assert to_text([{"name": name}]) == f"0={quote_plus(name)}\n".encode()
