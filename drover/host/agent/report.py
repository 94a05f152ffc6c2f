"""What the server learns about a container: the reply of activate, deactivate and remove.

The original asked the engine twice, for the list element and for the inspect. Both say the same, so the list
element is derived here from the inspect and a start costs one request less.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]


def instance_report(inspect: JsonObject, *, host_ip: str | None, container_ip: str | None = None) -> JsonObject:
    """The reply's data for a container that exists. `container_ip` overrides what Docker knows."""
    fields = {
        "dockerHostIp": host_ip,
        "dockerPorts": docker_ports(inspect),
        "dockerIp": docker_ip(inspect) if container_ip is None else container_ip,
    }
    return _wrap(
        str(inspect["Id"]),
        {
            "dockerContainer": list_element(inspect),
            "dockerInspect": inspect,
            "dockerMounts": inspect.get("Mounts") or [],
            "+fields": fields,
        },
    )


def absent_report(external_id: str | None, *, host_ip: str | None) -> JsonObject:
    """The reply's data for a container that does not exist (any more)."""
    fields = {"dockerHostIp": host_ip, "dockerPorts": None, "dockerIp": None}
    return _wrap(external_id, {"dockerContainer": None, "dockerInspect": None, "+fields": fields})


def docker_ip(inspect: Mapping[str, Any]) -> str:
    """The bridge address, or the empty string."""
    return str((inspect.get("NetworkSettings") or {}).get("IPAddress") or "")


def docker_ports(inspect: Mapping[str, Any]) -> list[str]:
    """`[ip:][public:]private/protocol` for each port, for example `0.0.0.0:8080:80/tcp`, `443/tcp`."""
    ports: list[str] = []
    for key, bindings in _ports(inspect).items():
        if not bindings:
            ports.append(key)
        for binding in bindings or ():
            address, public = binding.get("HostIp") or "", binding.get("HostPort") or ""
            # An address without a port leaves its place empty: `ip::80/tcp`.
            ports.append(f"{address}:{public}:{key}" if address else f"{public}:{key}" if public else key)
    return ports


def list_element(inspect: Mapping[str, Any]) -> JsonObject:
    """The container as an element of `GET /containers/json`."""
    state: Mapping[str, Any] = inspect.get("State") or {}
    config: Mapping[str, Any] = inspect.get("Config") or {}
    return {
        "Id": inspect["Id"],
        "Names": [inspect.get("Name") or ""],
        "Image": config.get("Image") or "",
        "ImageID": inspect.get("Image") or "",
        "Command": " ".join([str(inspect.get("Path") or ""), *(inspect.get("Args") or ())]),
        "Created": _epoch(str(inspect.get("Created") or "")),
        "Ports": [port for key, bindings in _ports(inspect).items() for port in _port_rows(key, bindings)],
        "Labels": config.get("Labels") or {},
        "State": state.get("Status") or "",
        "Status": _status(state),
        "HostConfig": {"NetworkMode": (inspect.get("HostConfig") or {}).get("NetworkMode") or "default"},
        "NetworkSettings": {"Networks": (inspect.get("NetworkSettings") or {}).get("Networks") or {}},
        "Mounts": inspect.get("Mounts") or [],
    }


def _wrap(external_id: str | None, data: JsonObject) -> JsonObject:
    return {"instanceHostMap": {"instance": {"externalId": external_id, "+data": data}}}


def _ports(inspect: Mapping[str, Any]) -> dict[str, list[dict[str, str]] | None]:
    """Published ports of a running container, else what its image and configuration expose."""
    published = (inspect.get("NetworkSettings") or {}).get("Ports")
    return published or dict.fromkeys((inspect.get("Config") or {}).get("ExposedPorts") or {})


def _port_rows(key: str, bindings: list[dict[str, str]] | None) -> list[JsonObject]:
    private, _, protocol = key.partition("/")
    row: JsonObject = {"PrivatePort": int(private), "Type": protocol or "tcp"}
    if not bindings:
        return [row]
    return [
        {**row, "IP": binding.get("HostIp") or "", "PublicPort": int(binding.get("HostPort") or 0)}
        for binding in bindings
    ]


def _status(state: Mapping[str, Any]) -> str:
    """Docker's own words, without the "how long": the server looks for `Up` only."""
    if state.get("Paused"):
        return "Up (Paused)"
    if state.get("Running"):
        return "Up"
    if state.get("Status") == "created":
        return "Created"
    return f"Exited ({state.get('ExitCode', 0)})"


def _epoch(timestamp: str) -> int:
    """Docker's RFC 3339 with nanoseconds, in seconds since the epoch; 0 when unreadable."""
    try:
        moment = datetime.strptime(timestamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(moment.timestamp())
