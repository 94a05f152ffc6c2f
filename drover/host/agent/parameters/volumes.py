"""Volumes of a container: anonymous volumes, binds, and the volumes of other containers."""

from __future__ import annotations

from typing import Any

from drover.host.agent.parameters.facts import MappingFacts
from drover.host.agent.payload import Instance

DOCKER_ROOT = "/var/lib/docker"


def add_volumes(config: dict[str, Any], host_config: dict[str, Any], instance: Instance, facts: MappingFacts) -> None:
    """`path` is an anonymous volume, `source:path[:mode]` a bind (or a named volume)."""
    volumes: dict[str, dict[str, str]] = {}
    binds: list[str] = []
    for entry in instance.fields.data_volumes or ():
        parts = entry.split(":", 2)
        if len(parts) == 1:
            volumes[parts[0]] = {}
            continue
        source, target = facts.flex_mounts.get(parts[0], parts[0]), parts[1]
        mode = parts[2] if len(parts) == 3 else "rw"
        volumes[target] = {}
        binds += _binds(source, target, mode, facts)
    if volumes:
        config["Volumes"] = volumes
    if binds:
        host_config["Binds"] = binds
    others = (facts.find_container(other) for other in instance.data_volumes_from_containers or ())
    if volumes_from := [container for container in others if container]:
        host_config["VolumesFrom"] = volumes_from


def _binds(source: str, target: str, mode: str, facts: MappingFacts) -> list[str]:
    """Docker's own folder, wherever the daemon keeps it, is shown at the place that programs expect."""
    if source == target == DOCKER_ROOT and facts.docker_root != DOCKER_ROOT:
        root = facts.docker_root
        return [f"{root}:{target}:{mode}", f"{root}:{root}:{mode}"]
    return [f"{source}:{target}:{mode}"]
