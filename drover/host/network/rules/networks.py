"""Networks as rules need them: their bridge and subnet, and whether this host has them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from drover.client.world import Container, Network, Service, World
from drover.host.network.attach.configs import plugins_of, substitute_host_labels
from drover.host.network.attach.plan import AttachError, parse_config
from drover.host.network.names import RUNNING_STATES

log = structlog.get_logger(__name__)

DRIVER_KIND = "networkDriverService"
DRIVER_NAME = "cni-driver"

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")


@dataclass(frozen=True, slots=True)
class BridgedNetwork:
    """A network of type `rancher-bridge`. `bridge` and `subnet` are empty when its configuration lacks them."""

    uuid: str
    name: str
    bridge: str
    subnet: str
    host_nat: bool
    host_ports: bool


def considered_running(container: Container) -> bool:
    """A container that starts or stops has its address already, or still."""
    return container.state in RUNNING_STATES


def bridged_networks(world: World) -> dict[str, BridgedNetwork]:
    """The environment's own networks by uuid, in the order of their names."""
    labels = world.own_host.labels if world.own_host else {}
    found: dict[str, BridgedNetwork] = {}
    for network in sorted(world.networks.values(), key=lambda each: (each.name or "", each.uuid)):
        if _own(world, network) and (bridged := _bridged(network, labels)) is not None:
            found[network.uuid] = bridged
    return found


def local_routers(world: World) -> dict[str, Container]:
    """By network: the container on this host that routes the network to the other hosts (Rancher 1.6's rule).

    The driver service is the only one of kind networkDriverService, or the one named cni-driver; routers are the
    containers of another primary service in its stack. A driver that has none beside it routes itself.
    """
    own = [each for each in world.services.values() if each.kind == DRIVER_KIND and _own(world, each)]
    drivers = own if len(own) == 1 else [each for each in own if each.name == DRIVER_NAME]
    if len(drivers) != 1:
        return {}
    driver = drivers[0]
    routers = {
        each.uuid
        for each in world.services.values()
        if each.stack_uuid == driver.stack_uuid and each.is_primary and each.uuid != driver.uuid
    } or {driver.uuid}
    return {
        container.network_uuid: container
        for container in world.containers.values()
        if container.host_uuid == world.host
        and container.network_uuid
        and any(each.service_uuid in routers for each in container.memberships)
    }


def local_networks(world: World) -> tuple[BridgedNetwork, ...]:
    """The networks that this host is part of: those with a router here."""
    routers = local_routers(world)
    return tuple(each for each in bridged_networks(world).values() if each.uuid in routers)


def _bridged(network: Network, host_labels: Mapping[str, str]) -> BridgedNetwork | None:
    config = network.metadata.get("cniConfig")
    if not isinstance(config, dict):
        return None
    for plugin in plugins_of(substitute_host_labels(config, host_labels)):
        if not plugin.built_in:
            continue
        try:
            parsed = parse_config(plugin.content)
        except AttachError as error:
            log.warning("network.config.unusable", network=network.name, error=str(error))
            return None
        return BridgedNetwork(
            uuid=network.uuid,
            name=network.name or network.uuid,
            bridge=_interface(parsed.bridge),
            subnet=_subnet(parsed.bridge_subnet),
            host_nat=parsed.host_nat,
            host_ports=network.host_ports,
        )
    return None


def _own(world: World, each: Network | Service) -> bool:
    environment = world.environment
    return environment is None or each.environment_uuid in ("", environment.uuid)


def _interface(name: Any) -> str:
    """Rules are text: nothing but an interface's name gets into them."""
    return name if isinstance(name, str) and _INTERFACE_NAME.fullmatch(name) else ""


def _subnet(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text, strict=False)) if text else ""
    except ValueError:
        return ""
