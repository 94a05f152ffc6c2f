"""The parts of objects that one row says by itself. Source of the values: the metadata of Rancher 1.6."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drover.client.world import Container, HealthCheck, LbRule, Service, Stickiness
from drover.server.store import Record

_WITH_ADDRESS = "kubernetesService"
_ANYWHERE = "0.0.0.0:"


def text(value: Any) -> str | None:
    """Text, None for nothing and for empty text."""
    return None if value is None or value == "" else str(value)


def number(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None


def texts(value: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in value or () if each is not None)


def split(value: Any) -> tuple[str, ...]:
    """The parts of a list that is kept as one text, separated by commas."""
    return tuple(part for each in str(value or "").split(",") if (part := each.strip()))


def mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def labels(value: Any) -> dict[str, str]:
    return {str(key): "" if each is None else str(each) for key, each in mapping(value).items()}


def health_check(value: Any) -> HealthCheck | None:
    """Strategy and time-outs of a check are the server's own business."""
    if not isinstance(value, Mapping):
        return None
    return HealthCheck(
        port=number(value.get("port")),
        request_line=text(value.get("requestLine")),
        interval=number(value.get("interval")),
        response_timeout=number(value.get("responseTimeout")),
        healthy_threshold=number(value.get("healthyThreshold")),
        unhealthy_threshold=number(value.get("unhealthyThreshold")),
    )


def container(row: Record) -> Container:
    """A container without what its host, network, services and checkers say about it."""
    return Container(
        uuid=row.uuid,
        name=row.name,
        state=row.state,
        hostname=text(row["hostname"]),
        external_id=text(row["externalId"]),
        primary_ip=text(row["primaryIpAddress"]),
        primary_mac_address=text(row["primaryMacAddress"]),
        ports=_ports(row),
        labels=labels(row["labels"]),
        create_index=number(row["createIndex"]),
        start_count=number(row["startCount"]),
        service_index=text(row["serviceIndex"]),
        health_state=text(row["healthState"]),
        health_check=health_check(row["healthCheck"]),
        memory_reservation=number(row["memoryReservation"]),
        milli_cpu_reservation=number(row["milliCpuReservation"]),
        system=bool(row["system"]),
        dns=split(row["dnsInternal"]),
        dns_search=split(row["dnsSearchInternal"]),
    )


def _ports(row: Record) -> tuple[str, ...]:
    """``[address:]public:private/protocol``: as published, else as wished for. A port without a public one has none."""
    found = []
    for each in row["publishedPorts"] or row["ports"] or ():
        published, _, private = str(each).rpartition(":")
        public = published.rpartition(":")[2]
        if published and not public:
            found.append(private)
        else:
            found.append(str(each).removeprefix(_ANYWHERE))
    return tuple(found)


def services(row: Record) -> Iterator[Service]:
    """The objects of a service: its own, and one for each sidekick, with what the launch configurations say."""
    sidekicks = [each for each in row["secondaryLaunchConfigs"] or () if each.get("name")]
    names = tuple(str(each["name"]) for each in sidekicks)
    name = row.name or ""
    yield _service(row, name, mapping(row["launchConfig"]), names)
    for each in sidekicks:
        yield _service(row, str(each["name"]), each, names)


def _service(row: Record, name: str, launch: Mapping[str, Any], sidekicks: tuple[str, ...]) -> Service:
    external = row.kind == "externalService"
    shows_vip = row["assignServiceIpAddress"] is True or row.kind == _WITH_ADDRESS
    scale = row["scale"] if row["desiredScale"] is None else row["desiredScale"]
    return Service(
        uuid=row.uuid,
        name=name,
        kind=row.kind,
        state=row.state,
        primary_service_name=row.name,
        sidekicks=sidekicks,
        scale=number(scale),
        create_index=number(row["createIndex"]),
        system=bool(row["system"]),
        hostname=text(row["hostname"]) if external else None,
        external_ips=texts(row["externalIpAddresses"]) if external else (),
        vip=text(row["vip"]) if shows_vip else None,
        fqdn=text(row["fqdn"]),
        ports=texts(launch.get("ports")),
        expose=texts(launch.get("expose")),
        labels=labels(launch.get("labels")),
        metadata=mapping(row["metadata"]),
        health_check=health_check(row["healthCheck"] if external else launch.get("healthCheck")),
        token=text(row["token"]),
    )


def stickiness(value: Any) -> Stickiness | None:
    if not isinstance(value, Mapping):
        return None
    return Stickiness(
        name=text(value.get("name")),
        cookie=text(value.get("cookie")),
        domain=text(value.get("domain")),
        indirect=bool(value.get("indirect")),
        nocache=bool(value.get("nocache")),
        postonly=bool(value.get("postonly")),
        mode=text(value.get("mode")),
    )


def rule(value: Mapping[str, Any], service: str | None) -> LbRule:
    """A port rule whose target is called ``service``. A missing weight is 1; other environments go by lower case."""
    weight = number(value.get("weight"))
    return LbRule(
        source_port=number(value.get("sourcePort")),
        protocol=text(value.get("protocol")),
        path=text(value.get("path")),
        hostname=text(value.get("hostname")),
        service=service,
        target_port=number(value.get("targetPort")),
        priority=number(value.get("priority")),
        backend_name=text(value.get("backendName")),
        selector=text(value.get("selector")),
        region=_lower(value.get("region")),
        environment=_lower(value.get("environment")),
        weight=1 if weight is None else weight,
    )


def _lower(value: Any) -> str | None:
    found = text(value)
    return None if found is None else found.lower()
