"""One API version's tree of an environment, kept in step with it object by object."""

from __future__ import annotations

import sys
from typing import Any

from drover.client.world import Container, Delta, Environment, Service, World
from drover.host.metadata.fields import (
    Version,
    cased,
    container_fields,
    host_fields,
    network_fields,
    service_fields,
    stack_fields,
)
from drover.host.metadata.nodes import Node, Shelf, SortKey
from drover.host.metadata.relations import Relations


class Tree:
    """All objects rendered for one version. Order is by name and creation, so that an index means the same for long.

    Made from everything at first; afterwards a change touches only the objects that it names and those that show
    something of them.
    """

    def __init__(self, world: World, relations: Relations, version: Version) -> None:
        self._world = world
        self._relations = relations
        self.version = version
        self._nodes: dict[str, dict[str, Node]] = {
            "container": {},
            "service": {},
            "stack": {},
            "host": {},
            "network": {},
        }
        self._homes: dict[str, tuple[str, ...]] = {}
        self._stack_of: dict[str, str] = {}
        self.containers = Shelf()
        self.services = Shelf()
        self.stacks = Shelf()
        self.hosts = Shelf()
        self.networks = Shelf(null_when_empty=False)
        self._put_all()

    def apply(self, delta: Delta) -> None:
        """Follow the world, after it and its relations."""
        containers = {after.uuid if before is None else before.uuid for before, after in delta.of("container")}
        services: dict[str, None] = {}
        for before, after in delta.of("service"):
            services[after.key if before is None else before.key] = None
            if _identity(before) != _identity(after):
                containers |= self._relations.members((after or before).key)
        for before, after in delta.of("stack"):
            uuid = (after or before).uuid
            self._put_stack(uuid)
            if before is None or after is None:
                services |= dict.fromkeys(self._relations.services(uuid))
        for key in services:
            self._put_service(key)
        for uuid in containers:
            self._put_container(uuid)
        for before, after in delta.of("host"):
            self._put_host((after or before).uuid)
        for before, after in delta.of("network"):
            self._put_network((after or before).uuid)

    def shared(self, version_token: str) -> dict[str, Any]:
        """What every client sees: the top of the tree but for `self`."""
        environment = self._world.environment or Environment(uuid="")
        top: dict[str, Any] = {
            "containers": self.containers,
            "hosts": self.hosts,
            "name": environment.name.lower() or None,
            "networks": self.networks,
            "region_name": environment.region_name and environment.region_name.lower(),
            "services": self.services,
            "stacks": self.stacks,
            "uuid": environment.uuid or None,
            "version": version_token,
        }
        if self.version is Version.V2016_07:
            top["environments"] = None
        return top

    def self_of(self, client: str) -> dict[str, Any]:
        """What the client with this address is: a container with its surroundings, or just somebody on this host."""
        hosts = self._nodes["host"]
        own_host = hosts.get(self._world.host or "")
        container = self._relations.holder(client)
        if container is None:
            return {"host": own_host}
        found: dict[str, Any] = {
            "container": self._nodes["container"][container.uuid],
            "host": hosts.get(container.host_uuid or "", own_host),
        }
        service = self._relations.home(container)
        if service is not None:
            found["service"] = self._with_token(service)
            stack = self._nodes["stack"].get(service.stack_uuid or "")
            if stack is not None:
                found["stack"] = stack
        return found

    def _with_token(self, service: Service) -> Node:
        shared = self._nodes["service"][service.key]
        own = self._service_node(service)
        own.children = shared.children
        own.render(service_fields(service, self.version, token=service.token))
        return own

    def _service_node(self, service: Service) -> Node:
        names_only = self.version.names_only
        name = cased(service.name, self.version)
        return Node(service.uuid, name, child_key="containers", children=Shelf(), names_only=names_only)

    def _put_all(self) -> None:
        for uuid in self._world.stacks:
            self._put_stack(uuid)
        for key in self._world.services:
            self._put_service(key)
        for uuid in self._world.containers:
            self._put_container(uuid)
        for uuid in self._world.hosts:
            self._put_host(uuid)
        for uuid in self._world.networks:
            self._put_network(uuid)

    def _put_container(self, uuid: str) -> None:
        nodes = self._nodes["container"]
        container, node = self._world.containers.get(uuid), nodes.get(uuid)
        if container is None:
            if node is not None:
                self._lift(node)
                del nodes[uuid], self._homes[uuid]
            return
        place = self._relations.place(container)
        name = cased(container.name, self.version)
        homes = self._relations.homes(container)
        sort_key = _container_key(container, self._relations.home(container))
        stays = node is not None and (node.name, node.sort_key, self._homes[uuid]) == (name, sort_key, homes)
        if node is None:
            node = nodes[uuid] = Node(uuid, name)
        elif not stays:
            self._lift(node)
        node.render(container_fields(container, place, self.version))
        if not stays:
            node.name, node.sort_key, self._homes[uuid] = name, sort_key, homes
            self.containers.add(node)
            for shelf in self._shelves(homes):
                shelf.add(node)

    def _lift(self, node: Node) -> None:
        """Take a container out of wherever it is shown."""
        self.containers.remove(node)
        for shelf in self._shelves(self._homes[node.uuid]):
            shelf.remove(node)

    def _shelves(self, service_keys: tuple[str, ...]) -> list[Shelf]:
        services = self._nodes["service"]
        return [
            node.children
            for key in service_keys
            if (node := services.get(key)) is not None and node.children is not None
        ]

    def _put_service(self, key: str) -> None:
        nodes, stacks = self._nodes["service"], self._nodes["stack"]
        service, node = self._world.services.get(key), nodes.pop(key, None)
        if node is not None:
            self.services.remove(node)
            former = stacks.get(self._stack_of.pop(key, ""))
            if former is not None and former.children is not None:
                former.children.remove(node)
        if service is None:
            return
        made = self._service_node(service)
        if node is not None and node.children is not None:
            made.children = node.children
        made.sort_key = _service_key(service)
        made.render(service_fields(service, self.version))
        nodes[key] = made
        self.services.add(made)
        stack = stacks.get(service.stack_uuid or "")
        if stack is not None and stack.children is not None:
            self._stack_of[key] = stack.uuid
            stack.children.add(made)

    def _put_stack(self, uuid: str) -> None:
        stack = self._world.stacks.get(uuid)
        name = None if stack is None else cased(stack.name, self.version)
        old = self._nodes["stack"].get(uuid)
        children = old.children if old is not None else Shelf()
        node = Node(uuid, name, child_key="services", children=children, names_only=self.version.names_only)
        fields = None if stack is None else stack_fields(stack, self.version)
        self._put("stack", self.stacks, node, fields)

    def _put_host(self, uuid: str) -> None:
        host = self._world.hosts.get(uuid)
        node = Node(uuid, None if host is None else host.name or host.hostname)
        self._put("host", self.hosts, node, None if host is None else host_fields(host, self.version))

    def _put_network(self, uuid: str) -> None:
        network = self._world.networks.get(uuid)
        node = Node(uuid, None if network is None else network.name)
        self._put("network", self.networks, node, None if network is None else network_fields(network))

    def _put(self, kind: str, shelf: Shelf, node: Node, fields: dict[str, Any] | None) -> None:
        """Replace what was shown under this uuid; without fields it is gone."""
        nodes = self._nodes[kind]
        old = nodes.pop(node.uuid, None)
        if old is not None:
            shelf.remove(old)
        if fields is None:
            return
        node.sort_key = ((node.name or "").lower(), node.uuid)
        node.render(fields)
        nodes[node.uuid] = node
        shelf.add(node)


def _identity(service: Service | None) -> tuple[str | None, ...]:
    """What a service's containers show of it."""
    if service is None:
        return ()
    return (service.uuid, service.name, service.stack_uuid, service.stack_name)


def _container_key(container: Container, service: Service | None) -> SortKey:
    """By stack, service and creation; containers without a service come last."""
    own = (container.create_index or 0, container.name or "", container.uuid)
    if service is None:
        return (1, "", "", *own)
    return (0, sys.intern((service.stack_name or "").lower()), sys.intern(service.name.lower()), *own)


def _service_key(service: Service) -> SortKey:
    """By stack and name; a sidekick follows its primary service."""
    primary = service.primary_service_name or service.name
    stack = (service.stack_name or "").lower()
    return (stack, primary.lower(), not service.is_primary, service.name.lower(), service.uuid)
