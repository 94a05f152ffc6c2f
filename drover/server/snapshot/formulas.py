"""How the objects of an environment follow from its facts. Pure functions; what they look at, they are told of again.

Source of what is shown and what is left out: the metadata of Rancher 1.6. It deviates where the original was wrong:
a container has its hostname, and a network says truthfully whether it is the default and has host ports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from drover.client.world import Environment, Host, LbConfig, LbRule, Membership, Network, Stack
from drover.server.snapshot import values
from drover.server.snapshot.facts import (
    HOST_NETWORK,
    Consumption,
    EnvironmentFact,
    Exposure,
    HostPlace,
    InstanceFact,
    InstanceLink,
    NetworkName,
    ServiceFact,
    ServiceName,
    StackName,
)
from drover.server.snapshot.sheet import Formula, Look, Objects

REGION = "regionName"
CHECKED_IPSEC = "ipsecHealthcheck"
GLOBAL = 0
"""The number under which facts are kept that are no row's."""

_IPSEC = "ipsec"
_IPSEC_KEY = "ipsec.service.enable.healthcheck"


def formulas(account_id: int) -> Mapping[str, Formula]:
    """The formulas of one environment, by the fact that they are about."""

    def environment_of(look: Look) -> EnvironmentFact | None:
        found: EnvironmentFact | None = look.fact("account", account_id)
        return found

    def environment_uuid(look: Look) -> str:
        return look.fact("accountUuid", account_id) or ""

    def environment(look: Look, number: int) -> Objects:
        own = environment_of(look)
        if own is None or number != account_id:
            return ()
        return (Environment(uuid=own.uuid, name=own.name, region_name=look.fact(REGION, GLOBAL)),)

    def stack(look: Look, number: int) -> Objects:
        own: StackName = look.fact("stack", number)
        shown = environment_of(look)
        return (
            Stack(
                uuid=own.uuid,
                name=own.name,
                environment_uuid="" if shown is None else shown.uuid,
                environment_name=None if shown is None else shown.name,
                system=own.system,
            ),
        )

    def host(look: Look, number: int) -> Objects:
        own: Host = look.fact("host", number)
        return (msgspec.structs.replace(own, environment_uuid=environment_uuid(look)),)

    def network(look: Look, number: int) -> Objects:
        own: Network = look.fact("network", number)
        shown = environment_of(look)
        return (
            msgspec.structs.replace(
                own,
                environment_uuid="" if shown is None else shown.uuid,
                is_default=shown is not None and shown.default_network_id == number,
            ),
        )

    def container(look: Look, number: int) -> Objects:
        instance: InstanceFact = look.fact("instance", number)
        place: HostPlace | None = look.fact("hostPlace", instance.host_id)
        joined: NetworkName | None = look.fact("networkName", instance.network_id)
        if place is None or joined is None:
            return ()
        address = instance.own.primary_ip
        if joined.kind == HOST_NETWORK:
            address = place.address
        elif instance.network_container_id is not None:
            address = None
        return (
            msgspec.structs.replace(
                instance.own,
                environment_uuid=environment_uuid(look),
                host_uuid=place.uuid,
                host_ip=place.address,
                primary_ip=address,
                ips=() if address is None else (address,),
                network_uuid=joined.uuid,
                network_from_container_uuid=look.fact("instanceUuid", instance.network_container_id),
                links=_container_links(look, number, instance),
                health_check_hosts=_checkers(look, number),
                memberships=tuple(sorted(_memberships(look, number), key=_membership_order)),
            ),
        )

    def service(look: Look, number: int) -> Objects:
        own: ServiceFact = look.fact("service", number)
        stack_name: StackName | None = look.fact("stack", own.stack_id)
        shared: dict[str, Any] = {
            "environment_uuid": environment_uuid(look),
            "stack_uuid": None if stack_name is None else stack_name.uuid,
            "stack_name": None if stack_name is None else stack_name.name,
            "links": dict(_service_links(look, number)),
            "lb_config": _balancing(look, own.balancing),
        }
        if own.own[0].name == _IPSEC:
            checked = bool(look.fact(CHECKED_IPSEC, GLOBAL))
            shared["metadata"] = {**own.own[0].metadata, _IPSEC_KEY: checked}
        return tuple(msgspec.structs.replace(each, **shared) for each in own.own)

    return {
        "account": environment,
        "stack": stack,
        "host": host,
        "network": network,
        "instance": container,
        "service": service,
    }


def _container_links(look: Look, number: int, instance: InstanceFact) -> dict[str, str]:
    """Link name -> uuid of the container. A link's own row, which can be changed, wins over the wish of the create."""
    targets = dict(instance.links)
    rows: Mapping[int, InstanceLink] = look.group("instanceLinks", number)
    targets.update((rows[row].name, rows[row].target_id) for row in sorted(rows))
    found = ((name, look.fact("instanceUuid", target)) for name, target in sorted(targets.items()))
    return {name: uuid for name, uuid in found if uuid is not None}


def _checkers(look: Look, number: int) -> tuple[str, ...]:
    """The uuids of the hosts that check the container's health."""
    places = (look.fact("hostPlace", host_id) for host_id in set(look.group("checks", number).values()))
    return tuple(sorted(place.uuid for place in places if place is not None))


def _memberships(look: Look, number: int) -> Iterator[Membership]:
    exposures: Mapping[int, Exposure] = look.group("exposures", number)
    for exposure in set(exposures.values()):
        service: ServiceName | None = look.fact("serviceName", exposure.service_id)
        if service is not None:
            yield Membership(service.uuid, exposure.launch_config or service.name)


def _membership_order(membership: Membership) -> tuple[str, str]:
    return (membership.service_uuid, membership.service_name)


def _service_links(look: Look, number: int) -> Iterator[tuple[str, str]]:
    """``stack/service`` -> alias; services elsewhere are called ``environment/stack/service``, as the link names them.

    Two links to one service differ in their alias only; the tree has room for one, and the newest wins.
    """
    links: Mapping[int, Consumption] = look.group("consumptions", number)
    for row in sorted(links):
        link = links[row]
        if link.service_id is None:
            if link.service is not None:
                yield link.service, link.alias or link.service.rpartition("/")[2]
            continue
        target: ServiceName | None = look.fact("serviceName", link.service_id)
        key = None if target is None else _qualified(look, target)
        if target is not None and key is not None:
            yield key, link.alias or target.name


def _qualified(look: Look, service: ServiceName) -> str | None:
    if service.qualified is not None:
        return service.qualified
    stack: StackName | None = look.fact("stack", service.stack_id)
    return None if stack is None else f"{stack.name}/{service.name}"


def _balancing(look: Look, config: Mapping[str, Any] | None) -> LbConfig | None:
    if config is None:
        return None
    certificates = (look.fact("certificate", int(each)) for each in config.get("certificateIds") or ())
    default = values.number(config.get("defaultCertificateId"))
    return LbConfig(
        certs=tuple(name for name in certificates if name),
        default_cert=look.fact("certificate", default),
        config=values.text(config.get("config")),
        stickiness_policy=values.stickiness(config.get("stickinessPolicy")),
        port_rules=tuple(_rules(look, config)),
    )


def _rules(look: Look, config: Mapping[str, Any]) -> Iterator[LbRule]:
    """A rule whose service or stack is gone is left out."""
    for each in config.get("portRules") or ():
        target_id = values.number(each.get("serviceId"))
        if target_id is None:
            yield values.rule(each, None)
            continue
        target: ServiceName | None = look.fact("serviceName", target_id)
        name = None if target is None else _qualified(look, target)
        if name is not None:
            yield values.rule(each, name)
