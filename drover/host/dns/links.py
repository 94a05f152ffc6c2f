"""Links: names that only the linking containers know."""

from __future__ import annotations

from typing import Literal, NamedTuple

from drover.client.world import Container, Service
from drover.host.dns.records import ZONE, absolute, within


class Target(NamedTuple):
    """Where a link leads: ``stack/service`` or ``environment/stack/service`` in lower case, or a container's uuid."""

    kind: Literal["service", "container"]
    path: str


class Link(NamedTuple):
    """``is_foreign``: into another environment, whose checks of health are not ours."""

    target: Target
    is_foreign: bool = False


def container_links(container: Container) -> dict[str, Link]:
    return {within(ZONE, name): Link(Target("container", uuid)) for name, uuid in container.links.items() if name}


def service_links(service: Service, *, environment: str) -> dict[str, Link]:
    """The names that a service's links give its containers. A link without an alias is called like its target."""
    names: dict[str, Link] = {}
    for key, value in service.links.items():
        parts = key.lower().split("/")
        if len(parts) < 2:
            continue
        alias = (value or parts[-1]).lower()
        link = Link(target_of(key, environment), len(parts) > 2)
        own = absolute(alias) if link.is_foreign else within(ZONE, alias, parts[0])
        names[own] = names[within(ZONE, alias)] = link
    return names


def target_of(key: str, environment: str) -> Target:
    """``environment`` is the own one's name, in lower case. A region in front is not looked at: a world holds only
    the environments that are linked.
    """
    parts = key.lower().split("/")[-3:]
    if len(parts) == 3 and parts[0] == environment:
        parts = parts[1:]
    return Target("service", "/".join(parts))
