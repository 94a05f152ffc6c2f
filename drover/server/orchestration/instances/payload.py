"""What an agent is told about a container: the container's row with everything it refers to.

The shape is that of Rancher 1.6 (``instanceHostMap`` with nested rows), because agents of that time must understand
it; Drover itself keeps no such map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from drover.placement import HostPort, parse_ports
from drover.placement.container import ANY_ADDRESS
from drover.server.orchestration.images.reference import split_image
from drover.server.resources.tables import column_fields
from drover.server.store import Record

_COLUMNS = frozenset(column_fields("instance"))
_HIDDEN = frozenset({"data", "reportedLabels", "publishedPorts", "ipAddressId"})
_STOP = frozenset({"id", "uuid", "name", "kind", "state", "externalId", "nativeContainer", "system"})


def instance_map(
    instance: Record,
    *,
    host: Record,
    network_kind: str,
    network: Record | None,
    subnet: Record | None,
    environment: Mapping[str, str] | None = None,
    credential: Mapping[str, Any] | None = None,
    links: Iterable[Mapping[str, Any]] = (),
    network_container: Record | None = None,
    volumes_from: Iterable[Record] = (),
    volumes: Iterable[Record] = (),
) -> dict[str, Any]:
    """The ``data`` of ``compute.instance.activate`` without ``processData``.

    ``environment`` is added to the container's own (keys of its agent); ``credential`` logs in to its registry;
    ``volumes`` are the managed volumes that it mounts.
    """
    row = _row(instance)
    fields = row["data"]["fields"]
    if instance["serviceId"] is not None:
        fields.pop("restartPolicy", None)  # whether it comes back is for its service to say, not for Docker
    if environment:
        fields["environment"] = {**(fields.get("environment") or {}), **environment}
    row["image"] = image_row(instance, credential)
    row["ports"] = [_port(port) for port in parse_ports(instance["publishedPorts"] or instance["ports"])]
    row["nics"] = [_nic(instance, network_kind, network, subnet)]
    row["instanceLinks"] = list(links)
    row["networkContainer"] = None if network_container is None else _reference(network_container)
    row["dataVolumesFromContainers"] = [_reference(each) for each in volumes_from]
    row["volumesFromDataVolumeMounts"] = [volume_row(each) for each in volumes]
    return wrap(instance, row, host)


def brief_map(instance: Record, *, host_id: int | None) -> dict[str, Any]:
    """The ``data`` of ``compute.instance.deactivate`` and ``remove``: enough to find the container."""
    row = {name: instance[name] for name in _STOP}
    row["data"] = {"fields": {"labels": instance["labels"] or {}, "imageUuid": instance["imageUuid"]}}
    row["agentId"] = instance["agentId"]
    return {"instanceHostMap": _map(instance, row, {"id": host_id, "type": "host"})}


def wrap(instance: Record, row: dict[str, Any], host: Record) -> dict[str, Any]:
    host_row = {"id": host.id, "type": "host", "uuid": host.uuid, "kind": host.kind, "name": host.name}
    return {"instanceHostMap": _map(instance, row, host_row)}


def image_row(instance: Record, credential: Mapping[str, Any] | None) -> dict[str, Any]:
    """The image of a container, with the registry it comes from."""
    reference = str(instance["imageUuid"] or "").removeprefix("docker:")
    server, full_name = split_image(reference)
    return {
        "type": "image",
        "id": instance.id,
        "name": f"{server}/{full_name}",
        "format": "docker",
        "data": {"dockerImage": {"fullName": full_name, "server": server}, "fields": {"build": instance["build"]}},
        "registryCredential": None if credential is None else dict(credential),
    }


def volume_row(volume: Record) -> dict[str, Any]:
    """A volume as agents know it."""
    return {
        "type": "volume",
        "id": volume.id,
        "uuid": volume.uuid,
        "name": volume.name,
        "uri": volume["uri"],
        "deviceNumber": volume["deviceNumber"],
        "data": {
            "fields": {
                "driver": volume["driver"],
                "driverOpts": volume["driverOpts"],
                "isHostPath": volume["isHostPath"],
            }
        },
    }


def link_row(name: str, target: Record | None) -> dict[str, Any]:
    """A link to another container: its name, its ports, and what its environment was when it started."""
    inspect = ((target["data"] or {}).get("dockerInspect") or {}) if target is not None else {}
    ports = parse_ports(target["ports"]) if target is not None else ()
    return {
        "linkName": name,
        "targetInstance": None
        if target is None
        else {**_reference(target), "data": {"dockerInspect": {"Config": {"Env": _environment(inspect)}}}},
        "data": {
            "fields": {
                "instanceNames": [target.name] if target is not None and target.name else [],
                "ports": [{"protocol": port.protocol, "privatePort": port.private} for port in ports],
            }
        },
    }


def _environment(inspect: Mapping[str, Any]) -> list[str]:
    return list((inspect.get("Config") or {}).get("Env") or [])


def _row(instance: Record) -> dict[str, Any]:
    row = {name: value for name, value in instance.values.items() if name in _COLUMNS and value is not None}
    row["type"] = "instance"
    row["data"] = {
        "fields": {
            name: value for name, value in instance.values.items() if name not in _COLUMNS and name not in _HIDDEN
        }
    }
    return row


def _map(instance: Record, row: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    return {"id": instance.id, "type": "instanceHostMap", "state": "activating", "instance": row, "host": host}


def _reference(instance: Record) -> dict[str, Any]:
    return {name: instance[name] for name in ("id", "uuid", "name", "kind", "state", "externalId")}


def _port(port: HostPort) -> dict[str, Any]:
    return {
        "type": "port",
        "privatePort": port.private,
        "publicPort": port.public or None,
        "protocol": port.protocol,
        "data": {"fields": {"bindAddress": None if port.address == ANY_ADDRESS else port.address}},
    }


def _nic(instance: Record, kind: str, network: Record | None, subnet: Record | None) -> dict[str, Any]:
    nic: dict[str, Any] = {
        "type": "nic",
        "deviceNumber": 0,
        "macAddress": instance["primaryMacAddress"],
        "network": {"kind": kind, "name": None if network is None else network.name},
        "ipAddresses": [],
    }
    if subnet is not None and instance["primaryIpAddress"]:
        nic["ipAddresses"] = [
            {
                "address": instance["primaryIpAddress"],
                "role": "primary",
                "subnet": {"cidrSize": subnet["cidrSize"], "networkAddress": subnet["networkAddress"]},
            }
        ]
    return nic
