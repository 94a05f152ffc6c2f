"""What an object shows in a tree: fields in the words of Rancher 1.6, which differ between the API versions.

Absent values are shown as null. Versions before 2016-07-29 keep the case of names and show ports with the host's own
address; the newest lowers the case and shows ports as they were published.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from drover.client.world import Container, HealthCheck, Host, LbConfig, LbRule, Network, Service, Stack, Stickiness


class Version(StrEnum):
    """The dated trees, oldest first."""

    V2015_07 = "2015-07-25"
    V2015_12 = "2015-12-19"
    V2016_07 = "2016-07-29"

    @property
    def lowers_names(self) -> bool:
        return self is Version.V2016_07

    @property
    def names_only(self) -> bool:
        """Whether services list their containers, and stacks their services, by name alone."""
        return self is Version.V2015_07


class Place(NamedTuple):
    """The service that a container shows as its own, in the case it was created with."""

    service_uuid: str
    service_name: str
    stack_uuid: str | None
    stack_name: str | None


def cased(name: str | None, version: Version) -> str | None:
    if name is None or not version.lowers_names:
        return name
    lowered = name.lower()
    return name if lowered == name else lowered  # most are lower-case already, and one copy is enough


def container_fields(container: Container, place: Place | None, version: Version) -> dict[str, Any]:
    return {
        "create_index": container.create_index,
        "dns": container.dns,
        "dns_search": container.dns_search,
        "environment_uuid": container.environment_uuid,
        "external_id": container.external_id,
        "health_check": _health_check(container.health_check),
        "health_check_hosts": container.health_check_hosts,
        "health_state": container.health_state,
        "host_uuid": container.host_uuid,
        "hostname": container.hostname,
        "ips": container.ips,
        "labels": container.labels,
        "links": container.links or None,
        "memory_reservation": container.memory_reservation,
        "metadata_kind": "container",
        "milli_cpu_reservation": container.milli_cpu_reservation,
        "name": cased(container.name, version),
        "network_from_container_uuid": container.network_from_container_uuid,
        "network_uuid": container.network_uuid,
        "ports": _ports(container, version),
        "primary_ip": container.primary_ip,
        "primary_mac_address": container.primary_mac_address,
        "service_index": container.service_index,
        "service_name": cased(place.service_name, version) if place else None,
        "service_uuid": place.service_uuid if place else None,
        "stack_name": cased(place.stack_name, version) if place else None,
        "stack_uuid": place.stack_uuid if place else None,
        "start_count": container.start_count,
        "state": container.state,
        "system": container.system,
        "uuid": container.uuid,
    }


def service_fields(service: Service, version: Version, *, token: str | None = None) -> dict[str, Any]:
    """Without `containers`. The token is given only where a container asks about itself."""
    links = service.links
    if version.lowers_names:
        links = {key.lower(): alias for key, alias in links.items()}
    return {
        "create_index": service.create_index,
        "environment_uuid": service.environment_uuid,
        "expose": service.expose,
        "external_ips": service.external_ips,
        "fqdn": service.fqdn,
        "health_check": _health_check(service.health_check),
        "hostname": service.hostname,
        "kind": service.kind,
        "labels": service.labels,
        "lb_config": _lb_config(service.lb_config),
        "links": links or None,
        "metadata": service.metadata,
        "metadata_kind": "service",
        "name": cased(service.name, version),
        "ports": service.ports,
        "primary_service_name": cased(service.primary_service_name or service.name, version),
        "scale": service.scale,
        "sidekicks": [cased(name, version) for name in service.sidekicks],
        "stack_name": cased(service.stack_name, version),
        "stack_uuid": service.stack_uuid,
        "state": service.state,
        "system": service.system,
        "token": token,
        "uuid": service.uuid,
        "vip": service.vip,
    }


def stack_fields(stack: Stack, version: Version) -> dict[str, Any]:
    """Without `services`."""
    return {
        "environment_name": stack.environment_name,
        "environment_uuid": stack.environment_uuid,
        "metadata_kind": "stack",
        "name": cased(stack.name, version),
        "system": stack.system,
        "uuid": stack.uuid,
    }


def host_fields(host: Host, version: Version) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "agent_ip": host.agent_ip,
        "agent_state": host.agent_state,
        "environment_uuid": host.environment_uuid,
        "hostname": host.hostname,
        "labels": host.labels,
        "local_storage_mb": host.local_storage_mb,
        "memory": host.memory,
        "metadata_kind": "host",
        "milli_cpu": host.milli_cpu,
        "name": host.name or host.hostname,
        "state": host.state,
        "uuid": host.uuid,
    }
    if version is not Version.V2016_07:
        fields["hostId"] = host.hostId
    return fields


def network_fields(network: Network) -> dict[str, Any]:
    return {
        "default_policy_action": network.default_policy_action,
        "environment_uuid": network.environment_uuid,
        "host_ports": network.host_ports,
        "is_default": network.is_default,
        "metadata": network.metadata,
        "metadata_kind": "network",
        "name": network.name,
        "policy": network.policy,
        "uuid": network.uuid,
    }


def _ports(container: Container, version: Version) -> list[str]:
    """`ip:public:private/proto`. What stands for "every address" is the host's own in the older versions.

    A port that is not published (`private/proto`) is at no address of the host and stays as it is.
    """
    if version.lowers_names:
        return [f"0.0.0.0:{port}" if _lacks_address(port) else port for port in container.ports]
    if not container.host_ip:
        return list(container.ports)
    shown = []
    for port in container.ports:
        rest = port.removeprefix("0.0.0.0:")
        shown.append(f"{container.host_ip}:{rest}" if _lacks_address(rest) else rest)
    return shown


def _lacks_address(port: str) -> bool:
    return port.count(":") == 1


def _health_check(check: HealthCheck | None) -> dict[str, Any] | None:
    return None if check is None else _every_field(check)


def _lb_config(config: LbConfig | None) -> dict[str, Any] | None:
    if config is None:
        return None
    sticky = config.stickiness_policy
    return {
        "certs": config.certs,
        "config": config.config,
        "default_cert": config.default_cert,
        "port_rules": [_lb_rule(rule) for rule in config.port_rules],
        "stickiness_policy": None if sticky is None else _every_field(sticky),
    }


def _lb_rule(rule: LbRule) -> dict[str, Any]:
    return {**_every_field(rule), "weight": 1 if rule.weight is None else rule.weight}


def _every_field(value: HealthCheck | LbRule | Stickiness) -> dict[str, Any]:
    """On the wire a default is left out; a tree shows it."""
    return {name: getattr(value, name) for name in value.__struct_fields__}
