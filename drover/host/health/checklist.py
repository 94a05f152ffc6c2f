"""What this host is to check, read from its environment and kept current change by change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drover.client.world import Container, Delta, HealthCheck, World

CHECKER_PORT = 42
INTERVAL_MS = 2000
CONNECT_MS = 5000
HOST_NETWORK = "Docker Host Network Mode"
_CHECKED = frozenset({"running", "starting"})


@dataclass(frozen=True, slots=True)
class Target:
    """One check. Times are in seconds."""

    key: str
    container: str
    name: str
    address: str
    port: int
    request_line: str | None
    interval: float
    connect_timeout: float
    read_timeout: float
    rise: int | None
    fall: int | None


@dataclass(frozen=True, slots=True)
class Differences:
    """What a change of the environment did to the list. A target in `changed` keeps its key and its state."""

    added: tuple[Target, ...]
    changed: tuple[Target, ...]
    removed: tuple[str, ...]


class Checklist:
    """The targets by key. A container that starts again gets another key, and so a fresh check."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.targets: dict[str, Target] = {}
        self._key_of: dict[str, str] = {}
        self._sharing: dict[str, set[str]] = {}

    def follow(self, delta: Delta) -> Differences:
        """Take in what a delta, already applied to the world, changes."""
        before: dict[str, Target | None] = {}
        for uuid in self._doubtful(delta):
            self._look_at(uuid, before)
        added: list[Target] = []
        changed: list[Target] = []
        removed: list[str] = []
        for key, old in before.items():
            new = self.targets.get(key)
            if new is None:
                removed.append(key)
            elif old is None:
                added.append(new)
            elif old != new:
                changed.append(new)
        return Differences(tuple(added), tuple(changed), tuple(removed))

    def _doubtful(self, delta: Delta) -> Iterable[str]:
        services = [pair for pair in delta.of("service") if _checks(pair[0]) != _checks(pair[1])]
        if delta.host_changed or services or any(delta.of("network")):
            return {*self._world.containers, *self._key_of, *(b.uuid for b, _ in delta.of("container") if b)}
        changed: set[str] = set()
        for before, after in delta.of("container"):
            uuid = (after or before).uuid
            changed.add(uuid)
            changed |= self._sharing.get(uuid, set())
        return changed

    def _look_at(self, uuid: str, before: dict[str, Target | None]) -> None:
        old_key = self._key_of.pop(uuid, None)
        if old_key is not None:
            before.setdefault(old_key, self.targets.pop(old_key, None))
        container = self._world.containers.get(uuid)
        if container is None:
            return
        if container.network_from_container_uuid:
            self._sharing.setdefault(container.network_from_container_uuid, set()).add(uuid)
        target = target_of(self._world, container)
        if target is not None:
            before.setdefault(target.key, None)
            self.targets[target.key] = target
            self._key_of[uuid] = target.key


def target_of(world: World, container: Container) -> Target | None:
    """The check of a container by this host, or None if there is nothing to check, or not for this host."""
    if container.state not in _CHECKED or world.host is None or world.host not in container.health_check_hosts:
        return None
    check = check_of(world, container)
    address = address_of(world, container)
    if check is None or address is None or check.port is None:
        return None
    interval = check.interval or INTERVAL_MS
    connect = min(CONNECT_MS, interval)
    return Target(
        key=f"{world.host}_{container.uuid}_{container.start_count or 0}",
        container=container.uuid,
        name=container.name or container.uuid,
        address=address,
        port=check.port,
        request_line=check.request_line or None,
        interval=interval / 1000,
        connect_timeout=connect / 1000,
        read_timeout=(check.response_timeout or connect) / 1000,
        rise=check.healthy_threshold or None,
        fall=check.unhealthy_threshold or None,
    )


def check_of(world: World, container: Container) -> HealthCheck | None:
    """A container's own check, else that of its service."""
    if container.health_check is not None and container.health_check.port:
        return container.health_check
    for place in container.memberships:
        service = world.services.get(f"{place.service_uuid}_{place.service_name}".lower())
        if service is not None and service.health_check is not None and service.health_check.port:
            return service.health_check
    return None


def address_of(world: World, container: Container) -> str | None:
    """Where the container listens. One on its host's network listens on the host, and is checked from there alone."""
    if container.network_from_container_uuid:
        other = world.containers.get(container.network_from_container_uuid)
        if other is not None and other.uuid != container.uuid:
            return other.primary_ip or _host_address(world, other)
    return container.primary_ip or _host_address(world, container)


def _host_address(world: World, container: Container) -> str | None:
    network = world.networks.get(container.network_uuid or "")
    if network is None or network.name != HOST_NETWORK or container.host_uuid != world.host:
        return None
    host = world.own_host
    return container.host_ip or (None if host is None else host.agent_ip)


def peers_of(world: World) -> list[str]:
    """Addresses of the checkers of other hosts."""
    return [
        container.primary_ip
        for container in world.containers.values()
        if container.primary_ip
        and container.system
        and container.host_uuid != world.host
        and container.state == "running"
        and (check := check_of(world, container)) is not None
        and check.port == CHECKER_PORT
    ]


def _checks(service: object) -> HealthCheck | None:
    return getattr(service, "health_check", None)
