"""What an agent says about its machine, read tolerantly from the elements of a pong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ReportedHost:
    """One Docker engine. ``memory`` in bytes, ``local_storage_mb`` in 10^6 bytes; None means not reported."""

    uuid: str
    kind: str
    name: str | None
    hostname: str | None
    physical_uuid: str | None
    labels: Mapping[str, str]
    create_labels: Mapping[str, str]
    info: Mapping[str, Any] | None
    api_proxy: str | None
    memory: int | None
    milli_cpu: int | None
    local_storage_mb: int | None
    address: str | None
    pools: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class _Elements:
    hosts: list[dict[str, Any]] = field(default_factory=list)
    pools: list[dict[str, Any]] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)


def read_report(elements: Iterable[Mapping[str, Any]]) -> list[ReportedHost]:
    """The hosts of a pong with what belongs to each; the order of the elements does not matter."""
    sorted_out = _Elements()
    for each in elements:
        kind, own_uuid = each.get("type"), each.get("uuid")
        if kind == "host" and own_uuid:
            sorted_out.hosts.append(dict(each))
        elif kind == "storagePool" and own_uuid:
            sorted_out.pools.append(dict(each))
        elif kind == "ipAddress":
            address = each.get("addresss") or each.get("address") or own_uuid  # three s: agents have always sent it so
            sorted_out.addresses.setdefault(str(each.get("hostUuid")), str(address))
    return [_host(each, sorted_out) for each in sorted_out.hosts]


def _host(each: Mapping[str, Any], elements: _Elements) -> ReportedHost:
    own_uuid = str(each["uuid"])
    return ReportedHost(
        uuid=own_uuid,
        kind=str(each.get("kind") or "docker"),
        name=_text(each.get("name")),
        hostname=_text(each.get("hostname")) or _text(each.get("name")),
        physical_uuid=_text(each.get("physicalHostUuid")),
        labels=_labels(each.get("labels")),
        create_labels=_labels(each.get("createLabels")),
        info=each.get("info") or None,
        api_proxy=_text(each.get("apiProxy")),
        memory=_number(each.get("memory")),
        milli_cpu=_number(each.get("milliCpu")),
        local_storage_mb=_number(each.get("localStorageMb")),
        address=elements.addresses.get(own_uuid),
        pools=tuple(pool for pool in elements.pools if str(pool.get("hostUuid")) == own_uuid),
    )


def _text(value: Any) -> str | None:
    return str(value) if value else None


def _number(value: Any) -> int | None:
    try:
        return int(value) if value is not None else None
    except (TypeError, ValueError):
        return None


def _labels(value: Any) -> dict[str, str]:
    return (
        {str(key): "" if text is None else str(text) for key, text in value.items()} if isinstance(value, dict) else {}
    )
