"""Every declared type, as every role sees it in both versions, against the published facts of Rancher 1.6.

Run with ``-s`` for the coverage table: matched and expected properties of each type, and all differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from drover.server.resources import Schema, catalog, schemas
from tests.server.resources import facts
from tests.server.resources.allowed import ABSENT, ADDED, DIFFERENCES

ATTRIBUTES = (*facts.ATTRIBUTES.values(), "schedule_update", "in_lists")


def schema_view(schema: Schema) -> dict[str, Any]:
    return {
        "plural": schema.plural,
        "methods": (schema.collection_methods, schema.resource_methods),
        "fields": {
            name: (
                "".join(
                    letter
                    for letter, may in (
                        ("c", field.create),
                        ("o", field.read_on_create_only),
                        ("r", field.readable),
                        ("u", field.update),
                    )
                    if may
                ),
                {"type": field.type}
                | {
                    key: value
                    for key in ATTRIBUTES
                    if (value := getattr(field, key)) is not None and (key == "default" or value not in facts.UNSET)
                },
            )
            for name, field in schema.fields.items()
        },
        "filters": dict(schema.extra_filters),
        "actions": {
            name: {key: value for key, value in asdict(action).items() if key not in ("roles", "offered")}
            for name, action in schema.actions.items()
        },
        "links": {
            name: {key: getattr(link, key) for key in ("kind", "type", "field", "via") if getattr(link, key)}
            for name, link in schema.links.items()
        },
    }


def flattened(view: dict[str, Any] | None) -> dict[str, Any]:
    """One entry a property: ``fields.name``, ``actions.remove``, ``methods`` ..."""
    if view is None:
        return {}
    flat: dict[str, Any] = {"visible": True, "plural": view["plural"], "methods": view["methods"]}
    for part in ("fields", "filters", "actions", "links"):
        flat |= {f"{part}.{name}": value for name, value in view[part].items()}
    return flat


def compare(version: str, name: str) -> Iterator[tuple[str, str, Any, Any]]:
    """(role, property, expected, ours) of every property of a type, for every role."""
    for role in facts.roles(version):
        expected = flattened(facts.seen(version, name, role))
        schema = schemas(version, role).get(name)
        ours = flattened(schema_view(schema) if schema else None)
        for key in sorted(expected.keys() | ours.keys()):
            yield role, key, expected.get(key), ours.get(key)


def is_same(key: str, expected: Any, ours: Any) -> bool:
    """The facts of v1 name some links without saying where they lead."""
    return expected == ours or (key.startswith("links.") and expected == {} and ours is not None)


def allowed(version: str, name: str, role: str, key: str) -> bool:
    return any(
        rule.version in ("*", version)
        and rule.types in ("*", name)
        and rule.role in ("*", role)
        and (key == rule.key or (rule.key.endswith("*") and key.startswith(rule.key[:-1])))
        for rule in DIFFERENCES
    )


@pytest.mark.parametrize("version", ["v2-beta", "v1"])
def test_types_conform_to_the_facts(version: str) -> None:
    differences: list[str] = []
    table: dict[str, Counter[str]] = {}
    for name in sorted(facts.types(version)):
        if name in ABSENT[version]:
            continue
        counts = table.setdefault(name, Counter())
        for role, key, expected, ours in compare(version, name):
            counts["expected"] += expected is not None
            if is_same(key, expected, ours):
                counts["matched"] += 1
            elif allowed(version, name, role, key):
                counts["allowed"] += 1
            else:
                differences.append(f"{version} {name} {role} {key}: expected {expected!r}, ours {ours!r}")
    print_table(version, table)
    for difference in differences:
        print(difference)
    assert not differences, f"{len(differences)} differences; first: {differences[0]}"


def print_table(version: str, table: dict[str, Counter[str]]) -> None:
    print(f"\n{version:<44} matched expected allowed")
    for name, counts in table.items():
        print(f"{name:<44} {counts['matched']:>7} {counts['expected']:>8} {counts['allowed']:>7}")
    total = sum((*table.values(),), Counter())
    print(f"{'all types':<44} {total['matched']:>7} {total['expected']:>8} {total['allowed']:>7}")
    for name in sorted(ABSENT[version]):
        print(f"not declared: {name}")


@pytest.mark.parametrize("version", ["v2-beta", "v1"])
def test_no_type_is_invented(version: str) -> None:
    assert set(catalog(version).resources) == (set(facts.types(version)) - ABSENT[version]) | ADDED[version]


@pytest.mark.parametrize("version", ["v2-beta", "v1"])
def test_id_prefixes(version: str) -> None:
    declared = catalog(version).resources
    expected = facts.types(version)
    wrong = {
        name: (expected[name]["idPrefix"], item.id_prefix)
        for name, item in declared.items()
        if name in expected and expected[name]["idPrefix"] != item.id_prefix
    }
    assert not wrong


def test_ancestry() -> None:
    expected = {name: item.get("parent") for name, item in facts.types("v2-beta").items()}
    ours = {name: item.parent for name, item in catalog().resources.items() if name in expected}
    assert ours == expected


def test_processes() -> None:
    expected = facts.load("processes")
    assert len(catalog().processes) == len(expected["processes"])
    for item in expected["processes"]:
        process = catalog().process(item["name"])
        through, done = item["transitioning"], item["done"]
        through = through if isinstance(through, dict) else dict.fromkeys(item["from"], through)
        done = done if isinstance(done, dict) else dict.fromkeys(through.values(), done)
        assert (process.name, process.transitioning, process.done) == (item["name"], through, done)
        assert process.resource_type == item["resourceType"]
        assert process.state_field == item["stateField"]
        assert process.delegate == item["delegate"]


def test_types_that_activate_themselves() -> None:
    for name in facts.load("processes")["activatedByDefault"]:
        assert catalog().auto_activates(name)
    assert not catalog().auto_activates("host")
