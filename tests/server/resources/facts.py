"""The published facts about the types of Rancher 1.6, as the conformance tests compare them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


@cache
def load(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))


def types(version: str) -> dict[str, Any]:
    return dict(load(f"schemas-{version}"))


def roles(version: str) -> list[str]:
    found = {role for item in types(version).values() for access in item["access"] for role in access["roles"]}
    return sorted(found)


def access(item: dict[str, Any], role: str) -> dict[str, Any] | None:
    return next((found for found in item["access"] if role in found["roles"]), None)


def base(version: str, name: str) -> str:
    declared = types(version)
    while declared[name].get("parent"):
        name = declared[name]["parent"]
    return name


ATTRIBUTES = {
    "nullable": "nullable",
    "required": "required",
    "unique": "unique",
    "default": "default",
    "min": "min",
    "max": "max",
    "minLength": "min_length",
    "maxLength": "max_length",
    "options": "options",
    "validChars": "valid_chars",
    "filter": "filters",
}
UNSET: tuple[Any, ...] = (None, False, [], ())


def seen(version: str, name: str, role: str) -> dict[str, Any] | None:
    """What the facts say that a role sees of a type, in the shape that ``schema_view`` gives for ours."""
    item = types(version)[name]
    given = access(item, role)
    if given is None:
        return None
    letters: dict[str, str] = {}
    for key, names in given["fields"].items():
        letters |= dict.fromkeys(item["fields"] if names == "*" else names, "".join(sorted(key)))
    visible = {found for found, other in types(version).items() if access(other, role)}
    actions = item["actions"] if given["actions"] == "*" else given["actions"]
    links = item["links"] if given["links"] == "*" else given["links"]
    by_lower = {key.lower(): key for key in item["links"]}
    return {
        "plural": item["plural"],
        "methods": (tuple(given["collectionMethods"]), tuple(given["resourceMethods"])),
        "fields": {
            field: (value, field_attributes(item["fields"][field], given.get("overrides", {}).get(field, {})))
            for field, value in letters.items()
        },
        "filters": {key: tuple(value) for key, value in item.get("extraFilters", {}).items()},
        "actions": {key: action_attributes(item["actions"][key]) for key in actions},
        "links": {
            by_lower.get(key.lower(), key): item["links"].get(by_lower.get(key.lower(), key), {})
            for key in links
            if item["links"].get(by_lower.get(key.lower(), key), {"type": ""})["type"] in visible | {""}
        },
    }


def field_attributes(item: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    item = item | overrides
    found = {ours: item[theirs] for theirs, ours in ATTRIBUTES.items() if theirs in item}
    found["schedule_update"] = (item.get("attributes") or {}).get("scheduleUpdate")
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    found["in_lists"] = item.get("includeInList", True)
    return {"type": item["type"]} | {key: value for key, value in found.items() if _is_set(key, value)}


def _is_set(key: str, value: Any) -> bool:
    return value is not None if key == "default" else value not in UNSET


def action_attributes(item: dict[str, Any]) -> dict[str, Any]:
    only = item.get("onlyStates", [item["onlyState"]] if "onlyState" in item else [])
    return {
        "input": item["input"],
        "output": item["output"],
        "states": tuple(item.get("states", ())),
        "only_states": tuple(only),
        "capability": item.get("capability"),
    }
