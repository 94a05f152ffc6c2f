"""The records of an environment, kept current object by object.

A changed container costs its own name, the services that it belongs to, the aliases and links that lead to these,
and its view if it runs on this host. Nothing looks through all containers or services after the start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from drover.client.world import Container, Delta, Service, Stack, World
from drover.host.dns import endpoints
from drover.host.dns.endpoints import Endpoint
from drover.host.dns.links import Link, Target, container_links, service_links, target_of
from drover.host.dns.records import ZONE, Answer, absolute, addresses_answer, within
from drover.host.dns.resolv_conf import usable
from drover.host.dns.view import Shared, View

METADATA_NAME = within(ZONE, "rancher-metadata")
AGENT_IP = "agent_ip"
K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Dirty:
    """What a delta may have changed."""

    names: set[str] = field(default_factory=set)
    services: dict[str, Service] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)
    clients: set[str] = field(default_factory=set)


class Directory:
    """Fills ``shared`` from ``world``.

    ``metadata_answer``: addresses of the name ``rancher-metadata``; ``excluded``: addresses that are never asked as
    name servers. In both, ``agent_ip`` stands for the address of this host.
    """

    def __init__(
        self, world: World, shared: Shared, *, metadata_answer: Iterable[str] = (), excluded: Iterable[str] = ()
    ) -> None:
        self._world = world
        self._shared = shared
        self._metadata_answer = tuple(metadata_answer)
        self._excluded = tuple(excluded)
        self._clear()

    def _clear(self) -> None:
        self._named: dict[str, dict[str, Container]] = defaultdict(dict)
        self._members: dict[str, dict[str, Container]] = defaultdict(dict)
        self._sharers: dict[str, dict[str, Container]] = defaultdict(dict)
        self._services_at: dict[str, dict[str, Service]] = defaultdict(dict)
        self._services_reached: dict[Target, dict[str, Service]] = defaultdict(dict)
        self._aliases_of: dict[Target, dict[str, Service]] = defaultdict(dict)
        self._clients_at: dict[str, dict[str, Container]] = defaultdict(dict)
        self._views: dict[object, View] = {}
        self._links: dict[View, dict[str, Link]] = {}
        self._viewers: dict[Target, set[View]] = defaultdict(set)
        self._addresses_of: dict[View, set[str]] = defaultdict(set)
        self._environment = ""
        self._environment_name = ""

    def apply(self, delta: Delta) -> bool:
        """Take over what changed in the world, which has it already. Returns whether any record differs."""
        if delta.host_changed or self._has_moved(delta):
            changed = self._rebuild()
        else:
            changed = self._follow(delta.of("service"), delta.of("container"))
        if changed:
            self._shared.differs()
        return changed

    def _has_moved(self, delta: Delta) -> bool:
        """Whether the environment or the host is another one, or says something else that all records depend on."""
        for before, after in delta.of("host"):
            if (after or before).uuid == self._world.host and (
                before is None or after is None or before.agent_ip != after.agent_ip
            ):
                return True
        return any(True for _ in delta.of("environment")) or any(
            not self._is_own(after or before) for before, after in delta.of("stack")
        )

    def _rebuild(self) -> bool:
        """Everything anew; names that are gone are taken out, the others stay valid all the time."""
        former_names, former_clients = set(self._shared.records), set(self._shared.clients)
        former_views = self._shared.views - {self._shared.default}
        self._clear()
        own, environment = self._world.own_host, self._world.environment
        self._environment = own.environment_uuid if own else environment.uuid if environment else ""
        self._environment_name = environment.name.lower() if environment else ""
        self._shared.set(METADATA_NAME, addresses_answer(self._resolved(self._metadata_answer)))
        services = ((None, each) for each in self._world.services.values())
        containers = ((None, each) for each in self._world.containers.values())
        self._follow(services, containers)
        for name in former_names - set(self._named_records()) - {METADATA_NAME}:
            self._shared.set(name, None)
        for address in former_clients - set(self._clients_at):
            self._shared.clients.pop(address, None)
        for view in former_views & self._shared.views:
            view.leave()
        return True

    def _named_records(self) -> Iterable[str]:
        yield from (within(ZONE, name) for name in self._named)
        yield from self._services_at

    def _follow(
        self,
        services: Iterable[tuple[Service | None, Service | None]],
        containers: Iterable[tuple[Container | None, Container | None]],
    ) -> bool:
        dirty = _Dirty()
        for before, after in services:
            if before is not None:
                self._remove_service(before, dirty)
            if after is not None:
                self._add_service(after, dirty)
        for was, now in containers:
            if was is not None:
                self._remove_container(was, dirty)
            if now is not None:
                self._add_container(now, dirty)
        return self._refresh(dirty)

    # What is where

    def _remove_service(self, service: Service, dirty: _Dirty) -> None:
        _take(self._services_at, service_name(service), service.key)
        for target in self._reached_as(service):
            _take(self._services_reached, target, service.key)
        for link in self._links_of(service):
            _take(self._aliases_of, link.target, service.key)
        self._touch_service(service, dirty)

    def _add_service(self, service: Service, dirty: _Dirty) -> None:
        if self._is_own(service):
            self._services_at[service_name(service)][service.key] = service
        for target in self._reached_as(service):
            self._services_reached[target][service.key] = service
        if service.kind == "dnsService":
            for link in self._links_of(service):
                self._aliases_of[link.target][service.key] = service
        self._touch_service(service, dirty)

    def _touch_service(self, service: Service, dirty: _Dirty) -> None:
        dirty.services[service.key] = service
        for member in self._members.get(service.key, {}).values():
            if member.host_uuid == self._world.host and member.primary_ip:
                dirty.clients.add(member.primary_ip)

    def _remove_container(self, container: Container, dirty: _Dirty) -> None:
        self._touch_container(container, dirty)
        if container.name:
            _take(self._named, container.name.lower(), container.uuid)
        for key in _memberships(container):
            _take(self._members, key, container.uuid)
        if container.network_from_container_uuid:
            _take(self._sharers, container.network_from_container_uuid, container.uuid)
        if container.primary_ip:
            _take(self._clients_at, container.primary_ip, container.uuid)

    def _add_container(self, container: Container, dirty: _Dirty) -> None:
        if container.name and self._is_own(container):
            self._named[container.name.lower()][container.uuid] = container
        for key in _memberships(container):
            self._members[key][container.uuid] = container
        if container.network_from_container_uuid:
            self._sharers[container.network_from_container_uuid][container.uuid] = container
        if container.primary_ip and container.host_uuid == self._world.host:
            self._clients_at[container.primary_ip][container.uuid] = container
        self._touch_container(container, dirty)

    def _touch_container(self, container: Container, dirty: _Dirty) -> None:
        for each in (container, *self._sharers.get(container.uuid, {}).values()):
            dirty.containers.add(each.uuid)
            if each.name:
                dirty.names.add(each.name.lower())
            for key in _memberships(each):
                service = self._world.services.get(key)
                if service is not None:
                    dirty.services.setdefault(key, service)
        if container.primary_ip and container.host_uuid == self._world.host:
            dirty.clients.add(container.primary_ip)

    # What that means

    def _refresh(self, dirty: _Dirty) -> bool:
        changed = False
        for name in dirty.names:
            changed |= self._shared.set(within(ZONE, name), self._container_answer(name))
        services = self._with_aliases(dirty.services)
        for name in {service_name(each) for each in services.values() if self._is_own(each)}:
            changed |= self._shared.set(name, self._service_answer(name))
        targets = {target for each in services.values() for target in self._reached_as(each)}
        targets |= {Target("container", uuid) for uuid in dirty.containers}
        for target in targets:
            for view in self._viewers.get(target, ()):
                for name, link in self._links[view].items():
                    if link.target == target:
                        changed |= view.set(name, self._link_answer(link))
        for address in dirty.clients:
            changed |= self._place_client(address)
        return changed

    def _with_aliases(self, services: dict[str, Service]) -> dict[str, Service]:
        """The services, and the alias services that lead to them, through however many others."""
        found, queue = dict(services), list(services.values())
        while queue:
            for target in self._reached_as(queue.pop()):
                for key, alias in self._aliases_of.get(target, {}).items():
                    if key not in found:
                        found[key] = alias
                        queue.append(alias)
        return found

    def _container_answer(self, name: str) -> Answer | None:
        holders = sorted(self._named.get(name, {}).values(), key=endpoints.by_age, reverse=True)
        return next((found for each in holders if (found := addresses_answer((self._address(each),)))), None)

    def _service_answer(self, name: str) -> Answer | None:
        holders = sorted(self._services_at.get(name, {}).values(), key=_youngest_first)
        return next((found for each in holders if (found := self._answer(each))), None)

    def _endpoints(self, service: Service, seen: frozenset[str] = frozenset()) -> list[Endpoint]:
        """``seen`` are the alias services on the way here: one that leads back to itself adds nothing."""
        if service.vip:
            return [Endpoint(each, None, healthy=True) for each in addresses_answer((service.vip,)).addresses]
        if service.kind == "externalService":
            return endpoints.of_outside(service)
        if service.kind == "dnsService":
            if service.key in seen:
                return []
            reached = (self._reach(link.target) for link in self._links_of(service))
            seen |= {service.key}
            return [each for linked in reached if linked for each in self._endpoints(linked, seen)]
        members = sorted(self._members.get(service.key, {}).values(), key=endpoints.by_age)
        found = (endpoints.of_container(each, self._address(each), service) for each in members)
        return [each for each in found if each is not None]

    def _reach(self, target: Target) -> Service | None:
        return min(self._services_reached.get(target, {}).values(), key=_youngest_first, default=None)

    def _address(self, container: Container) -> str | None:
        if container.network_from_container_uuid:
            shared = self._world.containers.get(container.network_from_container_uuid)
            return shared.primary_ip if shared else None
        return container.primary_ip

    def _link_answer(self, link: Link) -> Answer | None:
        if link.target.kind == "container":
            container = self._world.containers.get(link.target.path)
            return addresses_answer((self._address(container),)) if container else None
        service = self._reach(link.target)
        return None if service is None else self._answer(service, by_health=not link.is_foreign)

    def _answer(self, service: Service, *, by_health: bool = True) -> Answer | None:
        return endpoints.answer(self._endpoints(service), by_health=by_health, strict=endpoints.is_strict(service))

    # Clients

    def _place_client(self, address: str) -> bool:
        """Give an address of this host the view of the container that has it."""
        former = self._shared.clients.get(address)
        # Containers in the host's network share its address: those that run go first, then the youngest.
        candidates = self._clients_at.get(address, {}).values()
        container = max(candidates, key=lambda each: (each.state in endpoints.UP, endpoints.by_age(each)), default=None)
        view = None if container is None else self._view_of(container)
        if view is former:
            return False
        if view is None:
            self._shared.clients.pop(address, None)
        else:
            self._shared.clients[address] = view
            self._addresses_of[view].add(address)
        if former is not None:
            self._leave(former, address)
        return True

    def _view_of(self, container: Container) -> View:
        links = container_links(container)
        for key in _memberships(container):
            service = self._world.services.get(key)
            if service is not None:
                links |= service_links(service, environment=self._environment_name)
        search = tuple(dict.fromkeys(absolute(each) for each in container.dns_search if each.strip(". ")))
        upstreams = usable(container.dns, excluded=self._resolved(self._excluded))
        identity = (tuple(sorted(links.items())), search, upstreams)
        view = self._views.get(identity)
        if view is None:
            view = self._views[identity] = View(self._shared, search=search, upstreams=upstreams)
            self._links[view] = links
            for name, link in links.items():
                self._viewers[link.target].add(view)
                view.set(name, self._link_answer(link))
            self._shared.views.add(view)
        return view

    def _leave(self, view: View, address: str) -> None:
        """Views that nobody has any more are dropped."""
        self._addresses_of[view].discard(address)
        if self._addresses_of[view] or view not in self._links:
            return
        del self._addresses_of[view]
        view.leave()
        for link in self._links.pop(view).values():
            self._viewers[link.target].discard(view)
            if not self._viewers[link.target]:
                del self._viewers[link.target]
        self._views = {identity: each for identity, each in self._views.items() if each is not view}

    # Names

    def _is_own(self, each: Container | Service | Stack) -> bool:
        return not self._environment or each.environment_uuid in ("", self._environment)

    def _reached_as(self, service: Service) -> Iterable[Target]:
        """What links to this service are called."""
        path = f"{service.stack_name or ''}/{service.name}".lower()
        if self._is_own(service):
            yield Target("service", path)
            return
        stack = self._world.stacks.get(service.stack_uuid or "")
        if stack is not None and stack.environment_name:
            yield Target("service", f"{stack.environment_name.lower()}/{path}")

    def _links_of(self, service: Service) -> list[Link]:
        return [Link(target_of(key, self._environment_name), key.count("/") > 1) for key in sorted(service.links)]

    def _resolved(self, addresses: Iterable[str]) -> Iterable[str]:
        own = self._world.own_host
        for each in addresses:
            if each != AGENT_IP:
                yield each
            elif own is not None and own.agent_ip:
                yield own.agent_ip


def service_name(service: Service) -> str:
    """``web.shop.rancher.internal.``, of a sidekick ``data.web.shop.rancher.internal.``"""
    above = () if service.is_primary else (service.primary_service_name or "",)
    return within(ZONE, service.name, *above, service.stack_name or "")


def _memberships(container: Container) -> list[str]:
    return [f"{each.service_uuid}_{each.service_name}".lower() for each in container.memberships]


def _youngest_first(service: Service) -> tuple[bool, int, str]:
    """A service before a sidekick of the same name; of equals the one made last."""
    return (not service.is_primary, -(service.create_index or 0), service.key)


def _take(table: dict[K, dict[str, V]], key: K, item: str) -> None:
    """Remove an item, and the row that held it when it was the last."""
    row = table.get(key)
    if row is not None:
        row.pop(item, None)
        if not row:
            del table[key]
