"""Who belongs to whom, kept current change by change: containers to services, services to stacks, addresses to
containers.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from drover.client.world import Container, Delta, Membership, Service, World
from drover.host.metadata.fields import Place


class Relations:
    """Look-ups into a world that its own tables do not answer. `apply` follows the world, after it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._services: defaultdict[str, set[str]] = defaultdict(set)
        # Nearly every address has one holder, and there are thousands: a tuple takes a quarter of a set's memory.
        self._holders: dict[str, tuple[str, ...]] = {}
        for container in world.containers.values():
            self._link_container(container)
        for service in world.services.values():
            self._link_service(service)

    def apply(self, delta: Delta) -> None:
        for before, after in delta.of("container"):
            if before is not None:
                self._unlink_container(before)
            if after is not None:
                self._link_container(after)
        for before, after in delta.of("service"):
            if before is not None and before.stack_uuid is not None:
                _discard(self._services, before.stack_uuid, before.key)
            if after is not None:
                self._link_service(after)

    def members(self, service_key: str) -> frozenset[str]:
        """Uuids of a service's containers."""
        return frozenset(self._members.get(service_key, ()))

    def services(self, stack_uuid: str) -> frozenset[str]:
        """Keys of a stack's services."""
        return frozenset(self._services.get(stack_uuid, ()))

    def homes(self, container: Container) -> tuple[str, ...]:
        """Keys of the services that exist and that the container belongs to."""
        keys = dict.fromkeys(service_key(each) for each in container.memberships)
        return tuple(key for key in keys if key in self._world.services)

    def home(self, container: Container) -> Service | None:
        """The service that a container calls its own: the first that exists."""
        homes = self.homes(container)
        return self._world.services[homes[0]] if homes else None

    def place(self, container: Container) -> Place | None:
        service = self.home(container)
        if service is None:
            return None
        return Place(service.uuid, service.name, service.stack_uuid, service.stack_name)

    def holder(self, address: str) -> Container | None:
        """The container that asks from this address.

        Containers on a host's own network share the host's address, and linked environments may overlap. So that the
        answer does not depend on chance: own host, own environment, running, then by uuid.
        """
        uuids = self._holders.get(address)
        if not uuids:
            return None
        world, environment = self._world, self._world.environment
        own = environment.uuid if environment is not None else None
        return min(
            (world.containers[uuid] for uuid in uuids),
            key=lambda each: (
                each.host_uuid != world.host,
                each.environment_uuid != own,
                each.state != "running",
                each.uuid,
            ),
        )

    def _link_container(self, container: Container) -> None:
        for membership in container.memberships:
            self._members[service_key(membership)].add(container.uuid)
        if container.primary_ip:
            self._holders[container.primary_ip] = (*self._holders.get(container.primary_ip, ()), container.uuid)

    def _unlink_container(self, container: Container) -> None:
        for membership in container.memberships:
            _discard(self._members, service_key(membership), container.uuid)
        if container.primary_ip:
            others = tuple(each for each in self._holders[container.primary_ip] if each != container.uuid)
            if others:
                self._holders[container.primary_ip] = others
            else:
                del self._holders[container.primary_ip]

    def _link_service(self, service: Service) -> None:
        if service.stack_uuid is not None:
            self._services[service.stack_uuid].add(service.key)


def service_key(membership: Membership) -> str:
    """As `Service.key`. Interned: each container of a service asks for the same one and keeps it."""
    return sys.intern(f"{membership.service_uuid}_{membership.service_name}".lower())


def _discard(table: defaultdict[str, set[str]], key: str, member: str) -> None:
    """An empty set is dropped: addresses and services come and go for as long as the program runs."""
    members = table.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del table[key]
