"""What an agent's reply says about a container, as values of its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.placement import parse_ports
from drover.server.store import Record

_CONTAINER_KEYS = ("Id", "Names", "Image", "ImageID", "Command", "Created", "Ports", "State", "Status")


def read_reply(reply: Mapping[str, Any], instance: Record) -> dict[str, Any]:
    """The values to store. Only a part of Docker's inspect is kept: what links and people look at."""
    reported: Mapping[str, Any] = (reply.get("instanceHostMap") or {}).get("instance") or {}
    values: dict[str, Any] = {}
    if reported.get("externalId"):
        values["externalId"] = str(reported["externalId"])
    data: Mapping[str, Any] = reported.get("+data") or reported.get("data") or {}
    if not data:
        return values
    fields: Mapping[str, Any] = data.get("+fields") or data.get("fields") or {}
    kept = dict(instance["data"] or {})
    inspect = data.get("dockerInspect")
    if isinstance(inspect, dict):
        kept["dockerInspect"] = _brief_inspect(inspect)
    container = data.get("dockerContainer")
    if isinstance(container, dict):
        kept["dockerContainer"] = {name: container[name] for name in _CONTAINER_KEYS if name in container}
    if data.get("dockerMounts") is not None:
        kept["dockerMounts"] = data["dockerMounts"]
    values["data"] = kept
    for name in ("dockerHostIp", "dockerIp"):
        if fields.get(name):
            values[name] = fields[name]
    docker_ports = fields.get("dockerPorts")
    if isinstance(docker_ports, list):
        values["dockerPorts"] = docker_ports
        published = [text for text in docker_ports if any(port.public for port in parse_ports([text]))]
        if published:
            values["publishedPorts"] = sorted(set(published))
    return values


def _brief_inspect(inspect: Mapping[str, Any]) -> dict[str, Any]:
    config: Mapping[str, Any] = inspect.get("Config") or {}
    return {
        "Id": inspect.get("Id"),
        "Name": inspect.get("Name"),
        "Created": inspect.get("Created"),
        "Image": inspect.get("Image"),
        "State": inspect.get("State"),
        "Config": {name: config.get(name) for name in ("Env", "Cmd", "Entrypoint", "Image", "Hostname", "Tty")},
    }
