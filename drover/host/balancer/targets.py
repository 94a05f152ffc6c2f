"""From the target of a rule to the addresses behind it.

A service has its containers, an external service its addresses and host name, an alias whatever it links to. Built
once for each look at the world, so that a balancer with a thousand rules reads each container once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from functools import cached_property

from drover.client.world import Container, Service, World
from drover.host.balancer.model import Phase, Server

_OUT_OF_SERVICE = frozenset({"inactive", "deactivating", "removed", "removing"})
_PHASES = {"starting": Phase.STARTING, "running": Phase.RUNNING, "stopping": Phase.STOPPING}


class Locality(StrEnum):
    """Which containers a balancer may send to: those of its own host, or all."""

    ANY = "any"
    ONLY_LOCAL = "only-local"
    PREFER_LOCAL = "prefer-local"


class Targets:
    """The services of a world and their endpoints, seen from a host."""

    def __init__(self, world: World, *, locality: Locality = Locality.ANY, host: str | None = None) -> None:
        self._world = world
        self._locality = locality
        self._host = host
        self._endpoints: dict[str, tuple[Server, ...]] = {}
        self.names: set[str] = set()
        """Names that were looked up, found or not."""
        self.keys: set[str] = set()
        """Keys of the services whose endpoints were read."""
        self.parents: set[str] = set()
        """Containers whose addresses others use."""

    def find(self, name: str) -> Service | None:
        """A service by ``stack/service``, in a linked environment ``environment/stack/service``, in any case."""
        self.names.add(name.lower())
        return self._by_name.get(name.lower())

    def candidates(self, *, region: str | None = None, environment: str | None = None) -> Iterator[Service]:
        """The services that a selector may choose from: those of the own environment, or of a linked one."""
        for service in self._world.services.values():
            if service.is_primary and self._is_in(service, region, environment):
                yield service

    def _is_in(self, service: Service, region: str | None, environment: str | None) -> bool:
        if environment is None:
            return self._is_own(service)
        own = self._world.environment
        if region is not None and (own is None or region.lower() != (own.region_name or "").lower()):
            return False
        return self._environment_name(service) == environment.lower()

    def _is_own(self, service: Service) -> bool:
        own = self._world.environment
        return own is None or not service.environment_uuid or service.environment_uuid == own.uuid

    def _environment_name(self, service: Service) -> str:
        own = self._world.environment
        if own is not None and self._is_own(service):
            return own.name.lower()
        stack = self._world.stacks.get(service.stack_uuid or "")
        return (stack.environment_name or "").lower() if stack is not None else ""

    def endpoints(self, service: Service, *, port: int, weight: int) -> tuple[Server, ...]:
        """The servers of a service, by descending address, each address once."""
        found = self._endpoints.get(service.key)
        if found is None:
            unique = {server.address: server for server in self._expand(service, frozenset())}
            found = tuple(sorted(unique.values(), key=lambda server: server.address, reverse=True))
            self._endpoints[service.key] = found
        return tuple(Server(each.address, port, weight, each.phase, each.is_hostname) for each in found)

    def _expand(self, service: Service, above: Collection[str]) -> Iterator[Server]:
        self.keys.add(service.key)
        if service.kind == "externalService":
            yield from (Server(address, 0) for address in service.external_ips)
            if service.hostname:
                yield Server(service.hostname, 0, is_hostname=True)
        elif service.kind == "dnsService":
            path = {*above, service.key}
            for name in service.links:
                linked = self.find(name)
                if linked is not None and linked.key not in path and in_service(linked):
                    yield from self._expand(linked, path)
        else:
            yield from self._of_containers(service)

    def _of_containers(self, service: Service) -> Iterator[Server]:
        own = self._containers.get(service.key, ())
        if self._locality is not Locality.ANY:
            local = [each for each in own if each.host_uuid == self._host]
            own = local if local or self._locality is Locality.ONLY_LOCAL else own
        for container in own:
            address = self.address(container)
            if address:
                yield Server(address, 0, phase=_PHASES[container.state])

    def address(self, container: Container) -> str | None:
        """A container that shares another one's network is reached at that one's address."""
        if container.primary_ip or not container.network_from_container_uuid:
            return container.primary_ip
        self.parents.add(container.network_from_container_uuid)
        parent = self._world.containers.get(container.network_from_container_uuid)
        return parent.primary_ip if parent is not None else None

    @cached_property
    def _by_name(self) -> dict[str, Service]:
        found: dict[str, Service] = {}
        for each in self._world.services.values():
            name = f"{each.stack_name}/{each.name}".lower()
            found[name if self._is_own(each) else f"{self._environment_name(each)}/{name}"] = each
        return found

    @cached_property
    def _containers(self) -> dict[str, list[Container]]:
        """Containers that can take requests, by the key of the service (or sidekick) they belong to."""
        found: dict[str, list[Container]] = {}
        for container in self._world.containers.values():
            if container.state in _PHASES:
                for each in container.memberships:
                    found.setdefault(f"{each.service_uuid}_{each.service_name}".lower(), []).append(container)
        return found


def in_service(service: Service) -> bool:
    """Whether a service takes part in balancing at all."""
    return service.state not in _OUT_OF_SERVICE
