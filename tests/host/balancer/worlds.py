"""Small environments for the tests of the balancer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drover.client.world import (
    Container,
    Environment,
    Full,
    HealthCheck,
    Host,
    LbConfig,
    LbRule,
    Membership,
    Object,
    Service,
    Stack,
    Stickiness,
    World,
)

OWN = "lb-1"


@dataclass
class Town:
    """An environment under construction: services by ``stack/name``, containers by address, one balancer."""

    services: dict[str, Service] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    config: LbConfig = field(default_factory=LbConfig)
    labels: dict[str, str] = field(default_factory=dict)
    host: str = "h1"
    extra: list[Object] = field(default_factory=list)

    def service(
        self, name: str, addresses: Iterable[str | Sequence[str]] = (), *, kind: str = "service", **more: Any
    ) -> None:
        """A service with containers: an address, or (address, state, host)."""
        stack, short = name.split("/")
        service = Service(
            uuid=f"s-{name}", name=short, stack_name=stack, kind=kind, state=more.pop("state", "active"), **more
        )
        self.services[name] = service
        for each in addresses:
            address, state, host = (each, "running", "h1") if isinstance(each, str) else each
            self.container(name, address, state=state, host=host)

    def container(self, service: str, address: str, *, state: str = "running", host: str = "h1", **more: Any) -> None:
        self.containers[f"{service}-{address}"] = Container(
            uuid=f"c-{service}-{address}",
            name=address,
            state=state,
            host_uuid=host,
            primary_ip=address,
            memberships=(Membership(f"s-{service}", service.split("/")[1]),),
            **more,
        )

    def balance(self, *rules: LbRule, **more: Any) -> None:
        self.config = LbConfig(port_rules=rules, **more)

    def objects(self) -> tuple[Object, ...]:
        balancer = Service(
            uuid="s-lb",
            name="lb",
            kind="loadBalancerService",
            stack_name="shop",
            state="active",
            lb_config=self.config,
            labels=self.labels,
        )
        own = Container(
            uuid=OWN,
            name="shop-lb-1",
            state="running",
            host_uuid=self.host,
            primary_ip="10.42.9.9",
            memberships=(Membership("s-lb", "lb"),),
        )
        return (
            Environment(uuid="e", name="Default"),
            Stack(uuid="shop", name="shop"),
            Host(uuid="h1"),
            Host(uuid="h2"),
            balancer,
            own,
            *self.services.values(),
            *self.containers.values(),
            *self.extra,
        )

    def world(self) -> World:
        world = World()
        world.apply(Full(epoch="e", revision=1, objects=self.objects(), host=self.host))
        return world


def rule(source_port: int | None, service: str | None = None, target_port: int | None = 80, **more: Any) -> LbRule:
    return LbRule(source_port=source_port, service=service, target_port=target_port, **more)


def town(services: Mapping[str, Mapping[str, Any]]) -> Town:
    """The environment that a data file describes."""
    result = Town()
    for name, each in services.items():
        rules = each.get("target_rules")
        result.service(
            name,
            each.get("containers", ()),
            kind=each["kind"],
            state=each["state"],
            labels=each.get("labels", {}),
            external_ips=tuple(each.get("external_ips", ())),
            hostname=each.get("hostname"),
            links=dict.fromkeys(each.get("links", ()), ""),
            lb_config=LbConfig(port_rules=tuple(LbRule(**one) for one in rules)) if rules else None,
        )
    return result


__all__ = ["OWN", "HealthCheck", "Stickiness", "Town", "rule", "town"]
