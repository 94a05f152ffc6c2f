"""Who is who for policies: the containers of a network with their services, stacks and links."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from drover.client.world import Container, Service, World
from drover.host.network.rules.networks import considered_running
from drover.placement.selectors import SelectorError, parse_selector

ALIAS_KIND = "dnsService"
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Link:
    """Whoever has an address in `sources` is linked to those in `targets`. `name` identifies the target."""

    name: str
    targets: frozenset[str]
    sources: frozenset[str]


@dataclass(slots=True)
class Members:
    """A network's running containers. `local` are addresses of this host, by container and together."""

    own: list[Container] = field(default_factory=list)
    everyone: list[Container] = field(default_factory=list)
    local: frozenset[str] = frozenset()
    local_user: frozenset[str] = frozenset()
    services: dict[str, list[Service]] = field(default_factory=dict)
    of_service: dict[str, set[str]] = field(default_factory=dict)
    of_stack: dict[str, set[str]] = field(default_factory=dict)

    def addresses(self, containers: Iterable[Container]) -> frozenset[str]:
        return frozenset(each.primary_ip for each in containers if each.primary_ip)


def members_of(world: World, network: str) -> Members:
    """The members of the network with this uuid; linked environments' containers count for links only."""
    environment = world.environment.uuid if world.environment else ""
    members = Members()
    services: defaultdict[str, list[Service]] = defaultdict(list)
    for service in world.services.values():
        services[service.uuid].append(service)
    members.services = dict(services)
    of_service: defaultdict[str, set[str]] = defaultdict(set)
    of_stack: defaultdict[str, set[str]] = defaultdict(set)
    for container in world.containers.values():
        address = container.primary_ip
        if not address or not _ADDRESS.fullmatch(address) or not considered_running(container):
            # What is no address would make the kernel refuse all sets.
            continue
        own = not environment or container.environment_uuid in ("", environment)
        if own and container.network_uuid != network:
            continue
        members.everyone.append(container)
        for membership in container.memberships:
            of_service[membership.service_uuid].add(address)
        if not own:
            continue
        members.own.append(container)
        for stack in stacks_of(container, members):
            of_stack[stack].add(address)
    here = [each for each in members.own if each.host_uuid == world.host]
    members.local = members.addresses(here)
    members.local_user = members.addresses(each for each in here if not each.system)
    members.of_service, members.of_stack = dict(of_service), dict(of_stack)
    return members


def stacks_of(container: Container, members: Members) -> set[str]:
    return {
        service.stack_uuid
        for membership in container.memberships
        for service in members.services.get(membership.service_uuid, ())
        if service.stack_uuid
    }


def links_of(world: World, members: Members) -> list[Link]:
    """Links between services, of load balancers to what they balance, and of single containers."""
    found: list[Link] = []
    sources: defaultdict[str, set[str]] = defaultdict(set)
    by_path = _by_path(world)
    for uuid, parts in members.services.items():
        own = members.of_service.get(uuid, set())
        if own:
            for target in _targets(world, parts, by_path, frozenset()):
                sources[target] |= own
    for target, linking in sources.items():
        found.append(Link(f"service/{target}", frozenset(members.of_service.get(target, ())), frozenset(linking)))
    addresses = {each.uuid: each.primary_ip for each in members.everyone if each.primary_ip}
    single: defaultdict[str, set[str]] = defaultdict(set)
    for container in members.own:
        for uuid in container.links.values():
            if uuid in addresses and container.primary_ip:
                single[uuid].add(container.primary_ip)
    for uuid, linking in single.items():
        found.append(Link(f"container/{uuid}", frozenset({addresses[uuid]}), frozenset(linking)))
    return sorted(found, key=lambda each: each.name)


def _targets(
    world: World, parts: Iterable[Service], by_path: dict[str, list[Service]], seen: frozenset[str]
) -> set[str]:
    """The uuids of services that these launch configurations of one service are linked to."""
    found: set[str] = set()
    for service in parts:
        if service.uuid in seen:
            continue
        for path in (*service.links, *_balanced(service, world)):
            for target in by_path.get(path.lower(), ()):
                if target.kind == ALIAS_KIND:
                    # A service alias has no containers of its own: its links are meant.
                    found |= _targets(world, [target], by_path, seen | {service.uuid})
                else:
                    found.add(target.uuid)
    return found


def _balanced(service: Service, world: World) -> set[str]:
    """The services of a load balancer's rules, by name or by selector."""
    if service.lb_config is None:
        return set()
    found: set[str] = set()
    for rule in service.lb_config.port_rules:
        if rule.service:
            parts = (rule.region, rule.environment, rule.service)
            found.add("/".join(part for part in parts if part))
        if rule.selector:
            try:
                selector = parse_selector(rule.selector)
            except SelectorError:
                # The balancer does not balance it either.
                continue
            found |= {
                f"{each.stack_name}/{each.name}"
                for each in world.services.values()
                if each.stack_name and selector.matches(each.labels)
            }
    return found


def _by_path(world: World) -> dict[str, list[Service]]:
    """Services by `stack/service`, and by `environment/stack/service` with or without `region/` before it."""
    own = world.environment.uuid if world.environment else ""
    region = (world.environment.region_name if world.environment else None) or ""
    found: defaultdict[str, list[Service]] = defaultdict(list)
    for service in world.services.values():
        stack = world.stacks.get(service.stack_uuid or "")
        stack_name = service.stack_name or (stack.name if stack else "")
        path = f"{stack_name}/{service.name}".lower()
        if not own or service.environment_uuid in ("", own):
            found[path].append(service)
        if stack is not None and stack.environment_name:
            named = f"{stack.environment_name}/{path}".lower()
            found[named].append(service)
            found[f"{region}/{named}".lower()].append(service)
    return found
