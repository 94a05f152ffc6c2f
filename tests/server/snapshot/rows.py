"""Rows as the orchestration stores them, with what every row of a type has."""

from __future__ import annotations

from typing import Any

from drover.server.snapshot import Environment
from drover.server.snapshot.facts import state_facts
from drover.server.snapshot.formulas import CHECKED_IPSEC, GLOBAL, REGION
from drover.server.store import Record

ENVIRONMENT = 5


def record(type_name: str, number: int, **values: Any) -> Record:
    given = {"uuid": f"{type_name}-{number}", "kind": type_name, "state": "active", "accountId": ENVIRONMENT, **values}
    return Record(type_name, number, {"id": number, **given})


def environment(number: int = ENVIRONMENT, **values: Any) -> Record:
    given = {"name": "Default", "kind": "project", "defaultNetworkId": 1, "accountId": None, **values}
    return record("account", number, **given)


def network(number: int = 1, **values: Any) -> Record:
    return record("network", number, **{"kind": "managed", "name": "managed", "hostPorts": True, **values})


def host(number: int = 1, **values: Any) -> Record:
    given = {"kind": "docker", "name": f"host{number}", "hostname": f"h{number}.example"}
    return record("host", number, **{**given, "agentIpAddress": f"172.16.0.{number}", "agentState": "active", **values})


def stack(number: int = 1, **values: Any) -> Record:
    return record("stack", number, **{"name": "Shop", "system": False, **values})


def service(number: int = 1, **values: Any) -> Record:
    given = {"name": f"Web{number}", "stackId": 1, "scale": 2, "launchConfig": {"imageUuid": "docker:nginx"}}
    return record("service", number, **{**given, **values})


def container(number: int = 1, **values: Any) -> Record:
    given = {"kind": "container", "name": f"Shop-Web1-{number}", "state": "running", "hostId": 1, "primaryNetworkId": 1}
    return record("instance", number, **{**given, "primaryIpAddress": f"10.42.0.{number}", "labels": {}, **values})


def exposure(number: int, *, service_id: int, instance_id: int, **values: Any) -> Record:
    return record("serviceExposeMap", number, serviceId=service_id, instanceId=instance_id, **values)


def consumption(number: int, *, service_id: int, **values: Any) -> Record:
    return record("serviceConsumeMap", number, serviceId=service_id, **values)


def shown(*rows: Record, region: str | None = None, ipsec_checked: bool = False) -> dict[tuple[str, str], Any]:
    """What these rows look like to the hosts of the environment, which has a network and a host."""
    sheet_of = Environment(ENVIRONMENT)
    sheet_of.sheet.put(REGION, GLOBAL, region)
    sheet_of.sheet.put(CHECKED_IPSEC, GLOBAL, ipsec_checked or None)
    given = {each.key for each in rows}
    for each in (environment(), network(), host(), stack()):
        if each.key not in given:
            state_facts(sheet_of.sheet, each)
    for each in rows:
        state_facts(sheet_of.sheet, each)
    sheet_of.settle()
    return {(key.kind, key.key): each for key, each in sheet_of.own.items()}


def the(kind: str, key: str, *rows: Record, **options: Any) -> Any:
    """One object of them; None when there is none of this key."""
    return shown(*rows, **options).get((kind, key))
