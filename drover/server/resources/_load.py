"""Reads the declarations of types and processes from the packaged facts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from drover.server.resources.model import Access, Action, Field, Link, Process, Resource

UNSTORED = frozenset(
    [
        "identity",
        "subscribe",
        "databasechangelog",
        "databasechangeloglock",
        "instanceHostMap",
        "nic",
        "ipAddressNicMap",
        "imageStoragePoolMap",
        "volumeStoragePoolMap",
        "instanceLabelMap",
        "hostLabelMap",
        "credentialInstanceMap",
        "hostIpAddressMap",
        "storagePoolHostMap",
        "clusterHostMap",
        "launchConfig",
        "secondaryLaunchConfig",
        "snapshotBackupInput",
    ]
)
PATHS = {
    ("instance", "hosts"): ("hostId", "id"),
    ("host", "instances"): ("id", "hostId"),
    ("host", "ipAddresses"): ("id", "hostId"),
    ("ipAddress", "hosts"): ("hostId", "id"),
    ("host", "storagePools"): ("id", "hostId"),
    ("storagePool", "hosts"): ("hostId", "id"),
}
NAMES = {
    "nullable": "nullable", "required": "required", "unique": "unique", "default": "default", "min": "min",
    "max": "max", "minLength": "min_length", "maxLength": "max_length", "validChars": "valid_chars",
    "includeInList": "in_lists",
}  # fmt: skip
COLUMNS = {"instance": {"hostId"}}
EXTRA = {
    "ipAddress": {"hostId": "reference[host]", "instanceId": "reference[instance]"},
    "storagePool": {"hostId": "reference[host]"},
    "volume": {"storagePoolId": "reference[storagePool]"},
}


@cache
def _facts() -> Any:
    return json.loads(gzip.decompress((files(__package__) / "_facts.json.gz").read_bytes()))


def load_resources(version: str) -> list[Resource]:
    types = _facts()[version]
    return [_resource(name, item, types) for name, item in types.items()]


def _is_current(base: str) -> bool:
    return base in _facts()["v2-beta"]


def _base(name: str, types: Mapping[str, Any]) -> str:
    while types[name].get("parent"):
        name = types[name]["parent"]
    return "stack" if name == "environment" else name


def _resource(name: str, item: Mapping[str, Any], types: Mapping[str, Any]) -> Resource:
    base = _base(name, types)
    stored = name not in UNSTORED and base not in UNSTORED and _is_current(base)
    stored = stored and any(field.get("filter") for field in _facts()["v2-beta"].get(base, item)["fields"].values())
    fields = {key: _field(key, value, base) for key, value in item["fields"].items()}
    for key, kind in EXTRA.get(base, {}).items():
        fields[key] = Field(kind, column=True, nullable=True, internal=True)
    return Resource(
        name=name,
        plural=item["plural"],
        id_prefix=item["idPrefix"],
        fields=fields,
        links={key: _link(key, value, base) for key, value in item["links"].items()},
        actions={
            key: Action(
                input=value["input"],
                output=value["output"],
                states=tuple(value.get("states", ())),
                only_states=tuple(value.get("onlyStates", filter(None, [value.get("onlyState")]))),
                capability=value.get("capability"),
            )
            for key, value in item["actions"].items()
        },
        access=tuple(_access(value) for value in item["access"]),
        parent=item.get("parent"),
        stored=stored,
    )


def _field(name: str, item: Mapping[str, Any], base: str) -> Field:
    filters = tuple(item.get("filter") or ())
    return Field(
        type=item["type"],
        column=bool(filters) or name in COLUMNS.get(base, ()),
        filters=filters,
        options=tuple(item.get("options") or ()),
        schedule_update=bool((item.get("attributes") or {}).get("scheduleUpdate")),
        secret=item["type"] == "password",
        **{ours: item[theirs] for theirs, ours in NAMES.items() if item.get(theirs) is not None},
    )


def _link(name: str, item: Mapping[str, Any], base: str) -> Link:
    return Link(
        kind=item["kind"],
        type=item["type"],
        field=item.get("field"),
        via=item.get("via"),
        path=PATHS.get((base, name)),
    )


def _access(item: Mapping[str, Any]) -> Access:
    every = item["actions"] == "*"
    return Access(
        roles=tuple(item["roles"]),
        collection_methods=tuple(item["collectionMethods"]),
        resource_methods=tuple(item["resourceMethods"]),
        actions="*" if every else tuple(item["actions"]),
        grants={key: "*" if value == "*" else tuple(value) for key, value in item["fields"].items()},
        links="*" if item["links"] == "*" else tuple(item["links"]),
        overrides={
            field: {NAMES[key]: bool(value) for key, value in values.items()}
            for field, values in item.get("overrides", {}).items()
        },
    )


def load_processes() -> tuple[list[Process], list[str]]:
    facts = _facts()
    return [_process(item) for item in facts["processes"]], facts["autoActivate"]


def _process(item: Mapping[str, Any]) -> Process:
    moving, done = item["transitioning"], item["done"]
    transitioning = moving if isinstance(moving, dict) else dict.fromkeys(item["from"], moving)
    after = done if isinstance(done, dict) else dict.fromkeys(transitioning.values(), done)
    return Process(
        name=item["name"],
        resource_type=item["resourceType"],
        transitioning=transitioning,
        done=after,
        state_field=item["stateField"],
        delegate=item["delegate"],
    )


def load_settings() -> list[dict[str, Any]]:
    facts = _facts()
    return [
        {
            "name": name,
            "default": item["default"],
            "public": item.get("public", False),
            "service_only": name in facts["serviceOnly"],
            "description": item.get("note", ""),
        }
        for name, item in facts["settings"].items()
    ]
