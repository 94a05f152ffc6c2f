"""The built-in plug-in `rancher-bridge`, as a pure function: configuration and wish -> what to build.

The configuration's keys, their defaults and the arithmetic are those of Rancher 1.6's plug-in and of its IPAM
`rancher-cni-ipam`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import msgspec

from drover.host.network.attach.wanted import Wish
from drover.host.network.names import host_veth

FLAT_IPAM = "rancher-flat-ipam"


class AttachError(Exception):
    """A container cannot be attached; the text reaches the user through the agent."""


class IpamRoute(msgspec.Struct, frozen=True):
    dst: str
    gw: str | None = None


class IpamConfig(msgspec.Struct, frozen=True, rename="camel"):
    type: str = ""
    subnet_prefix_size: str = "/16"
    routes: list[IpamRoute] = []


class BridgeConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A `rancher-bridge` configuration; unknown keys are left alone."""

    name: str = ""
    bridge: str = "cni0"
    bridge_subnet: str = ""
    bridge_ip: str = msgspec.field(default="", name="bridgeIP")
    use_bridge_ip_as_gateway: bool = msgspec.field(default=False, name="useBridgeIPAsGateway")
    is_gateway: bool = False
    is_default_gateway: bool = False
    mtu: int = 0
    link_mtu_overhead: int = msgspec.field(default=0, name="linkMTUOverhead")
    hairpin_mode: bool = False
    promisc_mode: bool = False
    skip_bridge_configure_ip: bool = msgspec.field(default=False, name="skipBridgeConfigureIP")
    host_nat: bool = False
    ipam: IpamConfig = IpamConfig()
    dns: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """`gateway` None: on the link."""

    destination: IPv4Network
    gateway: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One container's attachment. A `bridge_mtu` or `link_mtu` of None leaves the kernel's own."""

    bridge: str
    bridge_address: IPv4Interface | None
    bridge_mtu: int | None
    promiscuous: bool
    hairpin: bool
    gateway_on_bridge: bool
    host_interface: str
    mac: str
    address: IPv4Interface
    gateway: IPv4Address
    link_mtu: int | None
    default_route: bool
    routes: tuple[Route, ...] = ()
    dns: Mapping[str, Any] | None = None

    def result(self) -> dict[str, Any]:
        """What the plug-in prints: a CNI result in the 0.2.0 form, which the agent reads."""
        routes = [
            {"dst": str(each.destination)} | ({"gw": str(each.gateway)} if each.gateway else {}) for each in self.routes
        ]
        if self.default_route:
            routes.append({"dst": "0.0.0.0/0", "gw": str(self.gateway)})
        ip4: dict[str, Any] = {"ip": str(self.address), "gateway": str(self.gateway)}
        return {"ip4": ip4 | ({"routes": routes} if routes else {}), "dns": dict(self.dns or {})}


def parse_config(content: Mapping[str, Any]) -> BridgeConfig:
    """Raises AttachError that names the key."""
    try:
        # Templates fill some numbers and booleans in as text.
        config = msgspec.convert(_without_blanks(content), BridgeConfig, strict=False)
    except msgspec.ValidationError as error:
        raise AttachError(f"the CNI configuration of the network is unusable: {error}") from error
    if config.hairpin_mode and config.promisc_mode:
        raise AttachError("hairpinMode and promiscMode exclude each other: set only one of them in the CNI config")
    return config


def bridge_address(config: BridgeConfig) -> IPv4Interface | None:
    """What the bridge carries: `bridgeIP`, else the first address of `bridgeSubnet`; None when it is not ours."""
    if not config.bridge_subnet or config.skip_bridge_configure_ip:
        return None
    subnet = subnet_of(config)
    if not config.bridge_ip:
        return IPv4Interface((subnet.network_address + 1, subnet.prefixlen))
    chosen = _address(config.bridge_ip.partition("/")[0], "bridgeIP")
    if chosen not in subnet:
        raise AttachError(f"bridgeIP {config.bridge_ip} is outside of bridgeSubnet {config.bridge_subnet}")
    return IPv4Interface((chosen, subnet.prefixlen))


def subnet_of(config: BridgeConfig) -> IPv4Network:
    try:
        return IPv4Network(config.bridge_subnet, strict=False)
    except ValueError as error:
        raise AttachError(f"bridgeSubnet {config.bridge_subnet!r} of the CNI config is no subnet") from error


def link_mtu(config: BridgeConfig, overhead_label: str) -> int | None:
    """The container's MTU: that of the path minus what the tunnel adds; the label wins when it is a number."""
    overhead = int(overhead_label) if overhead_label.strip().isdigit() else config.link_mtu_overhead
    return config.mtu - overhead if config.mtu - overhead > 0 else None


def plan_attachment(
    config: BridgeConfig, wish: Wish, *, metadata_address: str, bridge_own_address: IPv4Address | None = None
) -> Plan:
    """Raises AttachError when the address or MAC is missing or the configuration contradicts itself."""
    if not wish.address or not wish.mac:
        missing = "address" if not wish.address else "MAC address"
        raise AttachError(
            f"container {wish.container[:12]} has no {missing}: neither its labels nor metadata name one. "
            "Is the container part of this environment, and does its network have free addresses?"
        )
    bridge = bridge_address(config)
    address = _container_address(config, wish.address)
    gateway = address.network.network_address + 1
    if config.use_bridge_ip_as_gateway:
        own = bridge.ip if bridge else bridge_own_address
        if own is None:
            raise AttachError(f"bridge {config.bridge} has no address that could be the gateway")
        gateway = own
    routes = tuple(_route(each) for each in config.ipam.routes)
    default = next((each for each in routes if each.destination.prefixlen == 0), None)
    if config.is_default_gateway and default and default.gateway not in (None, gateway):
        raise AttachError(f"isDefaultGateway wants {gateway} as gateway, but the IPAM's routes want {default.gateway}")
    if config.ipam.type == FLAT_IPAM and bridge_own_address is not None:
        metadata = Route(IPv4Network(f"{metadata_address}/32"), bridge_own_address)
        routes = (*(each for each in routes if each.destination != metadata.destination), metadata)
    plan = Plan(
        bridge=config.bridge,
        bridge_address=bridge,
        bridge_mtu=config.mtu or None,
        promiscuous=config.promisc_mode,
        hairpin=config.hairpin_mode,
        gateway_on_bridge=(config.is_gateway or config.is_default_gateway) and not config.skip_bridge_configure_ip,
        host_interface=host_veth(wish.container),
        mac=wish.mac.lower(),
        address=address,
        gateway=gateway,
        link_mtu=link_mtu(config, wish.overhead),
        default_route=config.is_default_gateway,
        routes=routes,
        dns=config.dns or None,
    )
    if default and config.is_default_gateway:
        return replace(plan, routes=tuple(each for each in routes if each is not default))
    return plan


def _container_address(config: BridgeConfig, text: str) -> IPv4Interface:
    address, _, prefix = text.partition("/")
    if config.ipam.type == FLAT_IPAM and config.bridge_subnet:
        prefix = str(subnet_of(config).prefixlen)
    try:
        return ipaddress.IPv4Interface(f"{address}/{prefix or config.ipam.subnet_prefix_size.lstrip('/')}")
    except ValueError as error:
        raise AttachError(f"{text!r} is no IPv4 address with prefix length") from error


def _route(route: IpamRoute) -> Route:
    try:
        gateway = IPv4Address(route.gw) if route.gw else None
        return Route(IPv4Network(route.dst, strict=False), gateway)
    except ValueError as error:
        raise AttachError(f"route {route.dst} of the IPAM config is unusable: {error}") from error


def _address(text: str, what: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError as error:
        raise AttachError(f"{what} {text!r} is no IPv4 address") from error


def _without_blanks(content: Mapping[str, Any]) -> dict[str, Any]:
    """An unanswered question of a template arrives as an empty text: the default is meant."""
    return {key: value for key, value in content.items() if value not in ("", None)}
