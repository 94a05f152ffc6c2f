"""Whatever is posted to whatever type: an answer below 500, and refusals that explain themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drover.server.api.grammar import FieldType, parse_type
from drover.server.resources import Schema, SchemaField, schemas
from tests.server.api.client import ApiClient
from tests.server.conftest import ALL_DATABASES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_address", ALL_DATABASES, indirect=True)]

VERSIONS = ("v2-beta", "v1")
NASTY = [
    "",
    " ",
    "-rf",
    "$(id)",
    "`id`",
    ";ls",
    "a\nb",
    "\0",
    "\u2028",
    "é" * 300,
    "../..",
    "%00",
    "'\"<b>",
    "x" * 5000,
]
IDS = ["1a5", "1i1", "1st1", "1e1", "1", "x", "1i", "1i!raw", "1i99999999999999999999", "-1", ""]

anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(NASTY) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def plausible(kind: FieldType, field: SchemaField | None, version: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that a type might take, so that the rules behind the first check are reached, too."""
    match kind.name:
        case "int":
            return st.integers(-1, 70000) | st.sampled_from([2**31, 2**63, "12", "1e3"])
        case "float":
            return st.floats(-10, 1e300)
        case "boolean":
            return st.sampled_from([True, False, "true", "no", 1])
        case "date":
            return st.sampled_from(["2024-01-01T00:00:00Z", 0, -1, 10**17, "now", "", "yesterday", "9999-12-31"])
        case "reference":
            return st.sampled_from(IDS)
        case "array" if kind.of is not None:
            return st.lists(plausible(kind.of, field, version, depth), max_size=3)
        case "map" if kind.of is not None:
            return st.dictionaries(
                st.sampled_from([*NASTY, "key"]), plausible(kind.of, field, version, depth), max_size=2
            )
        case "embedded" if depth < 2:
            schema = schemas(version, "owner").get(kind.target)
            return body_of(schema, version, depth + 1) if schema else anything
        case "json":
            return anything
    options = list(field.options) if field is not None and field.options else []
    return st.sampled_from([*options, "name", "docker:nginx", "80:80", "a=b", *NASTY])


def body_of(schema: Schema, version: str, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    fields = {
        name: plausible(parse_type(each.type), each, version, depth) | anything
        for name, each in schema.fields.items()
        if each.create or each.update
    }
    required = {name: each for name, each in fields.items() if schema.fields[name].required}
    return st.fixed_dictionaries(
        required, optional={name: each for name, each in fields.items() if name not in required}
    )


LISTABLE = {
    version: [each for each in schemas(version, "admin") if "GET" in each.collection_methods] for version in VERSIONS
}


def creatable(version: str, role: str) -> list[Schema]:
    return [each for each in schemas(version, role) if "POST" in each.collection_methods]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A body for a type as some role, and a change of what comes of it."""

    url: str
    body: dict[str, Any]
    change: dict[str, Any]


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    version = draw(st.sampled_from(VERSIONS))
    role, prefix = draw(st.sampled_from([("owner", f"/{version}/projects/1a5"), ("admin", f"/{version}")]))
    schema = draw(st.sampled_from(creatable(version, role)))
    bodies = body_of(schema, version)
    return Attempt(f"{prefix}/{schema.plural}", draw(bodies), draw(bodies))


@st.composite
def list_queries(draw: st.DrawFn) -> tuple[str, dict[str, bytes]]:
    version = draw(st.sampled_from(VERSIONS))
    schema = draw(st.sampled_from(LISTABLE[version]))
    controls = ["limit", "marker", "sort", "include", "order", "_removed", "_plainId"]
    name = draw(st.sampled_from([*schema.filters, *controls]))
    modifier = draw(st.sampled_from(["", "_eq", "_ne", "_lt", "_gte", "_like", "_prefix", "_null", "_bogus"]))
    words = [*NASTY, *IDS, "m5", "kAAA", "-1", "true", "now", *schema.links, *schema.filters]
    value = draw(st.sampled_from(words) | st.text(max_size=10))
    return f"/{version}/{schema.plural}", {name + modifier: value.encode("utf-8", "replace")}


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(attempt=attempts())
async def test_nothing_that_is_posted_breaks_the_server(admin: ApiClient, attempt: Attempt) -> None:
    answer = await admin.post(attempt.url, attempt.body)
    assert answer.status < 500, (attempt, answer.json)
    if answer.status >= 400:
        assert answer.json["type"] == "error"
        assert answer.json["message"]
        return
    link = answer.json.get("links", {}).get("self") if answer.status != 204 else None
    if link and answer.json["type"] != "collection":
        for step in (admin.get(link), admin.put(link, attempt.change), admin.delete(link)):
            done = await step
            assert done.status < 500, (attempt, done.json)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(target=list_queries())
async def test_no_query_breaks_a_list(admin: ApiClient, target: tuple[str, dict[str, bytes]]) -> None:
    answer = await admin.get(target[0], query=target[1])
    assert answer.status < 500, (target, answer.json)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    raw=st.binary(max_size=60),
    kind=st.sampled_from(
        ["application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""]
    ),
)
async def test_no_body_breaks_the_server(admin: ApiClient, raw: bytes, kind: str) -> None:
    answer = await admin.request("POST", "/v2-beta/projects/1a5/stacks", raw=raw, headers={"content-type": kind})
    assert answer.status < 500, (raw, kind, answer.json)
