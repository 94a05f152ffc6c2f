"""Small constructors for specs, units and members, so that a test shows only what it is about."""

from __future__ import annotations

import itertools
from typing import Any

from drover.server.orchestration.services.digest import REQUESTED_HOST_LABEL, Digest
from drover.server.orchestration.services.spec import ServiceSpec, parse_service
from drover.server.store import Record

_ids = itertools.count(1000)


def service_spec(**fields: Any) -> ServiceSpec:
    launch = {"imageUuid": "docker:web", **fields.pop("launchConfig", {})}
    values = {
        "id": 1,
        "kind": "service",
        "name": "web",
        "state": "active",
        "accountId": 5,
        "stackId": 2,
        "scale": 1,
        "launchConfig": launch,
        **fields,
    }
    stack = Record("stack", 2, {"id": 2, "name": "shop", "state": "active", "accountId": 5})
    return parse_service(Record("service", 1, values), stack)


def add_unit(
    digest: Digest, index: int, *, host: int | None = None, requested: int | None = None, **members: Any
) -> str:
    """Add a unit with one member per keyword: ``primary="running"`` or ``side={"state": "stopped"}``."""
    unit = f"unit-{index}"
    labels = {} if requested is None else {REQUESTED_HOST_LABEL: str(requested)}
    digest.see_unit(
        Record(
            "deploymentUnit",
            next(_ids),
            {"uuid": unit, "serviceIndex": str(index), "labels": labels, "state": "active"},
        )
    )
    for config, given in members.items():
        add_member(digest, unit, "" if config == "primary" else config, host=host, given=given)
    return unit


def add_member(digest: Digest, unit: str, config: str, *, host: int | None = None, given: Any = "running") -> int:
    values = {"state": given} if isinstance(given, str) else dict(given)
    instance_id = next(_ids)
    upgrade = values.pop("upgrade", False)
    digest.see_exposure(
        Record(
            "serviceExposeMap",
            next(_ids),
            {"instanceId": instance_id, "dnsPrefix": config or None, "managed": not upgrade, "upgrade": upgrade},
        )
    )
    values = {
        "deploymentUnitUuid": unit,
        "createIndex": instance_id,
        "hostId": host,
        "version": "0",
        "startCount": 1,
        "name": f"{unit}-{config}",
        **values,
    }
    digest.see_instance(Record("instance", instance_id, values))
    return instance_id
