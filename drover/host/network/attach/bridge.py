"""The built-in bridge plug-in at work: a plan becomes a bridge port and an interface, over netlink.

Everything is looked at before it is made, so attaching twice is attaching once: after a restart of this program a
container that is attached already is only verified. Nothing here starts a process.
"""

from __future__ import annotations

import errno
import os
import threading
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from drover.host.network.attach.ledger import BridgeLedger
from drover.host.network.attach.plan import AttachError, Plan
from drover.host.network.names import INTERFACE, VETH_PREFIX
from drover.host.network.namespaces import inside_network

IFF_UP = 0x1
IFF_PROMISC = 0x100
AF_INET = 2
_HARMLESS = (errno.EEXIST,)

_bridges = threading.Lock()
"""Two containers that start at the same moment must not both make the bridge."""


def attach(plan: Plan, network_namespace: str, ledger: BridgeLedger) -> None:
    """Builds what the plan says in the namespace. Raises AttachError, or OSError when the namespace is gone."""
    try:
        with IPRoute() as host:
            bridge = ensure_bridge(host, plan, ledger)
            with inside_network(network_namespace):
                inside = IPRoute()
            with inside:
                if _link(inside, INTERFACE) is None:
                    _connect(host, plan, bridge, network_namespace)
                _configure(inside, plan)
            _forget_neighbour(host, bridge, plan.address.ip)
    except NetlinkError as error:
        raise AttachError(f"the kernel refused to attach the container to {plan.bridge}: {error}") from error


def ensure_bridge(host: IPRoute, plan: Plan, ledger: BridgeLedger) -> int:
    """The bridge's index, once it is there, up, and carries its address."""
    with _bridges:
        link = _link(host, plan.bridge)
        if link is None:
            values: dict[str, Any] = {"mtu": plan.bridge_mtu} if plan.bridge_mtu else {}
            # An address of its own, or the bridge would take over that of its lowest port, whichever that is.
            octets = (0x02, 0x42, *plan.gateway.packed)
            host.link(
                "add", ifname=plan.bridge, kind="bridge", address=":".join(f"{each:02x}" for each in octets), **values
            )
            ledger.created(plan.bridge)
            link = _link(host, plan.bridge)
        if link is None or (link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "") != "bridge":
            raise AttachError(f"{plan.bridge} exists on this host but is no bridge: name another one in the CNI config")
        index = int(link["index"])
        wanted = IFF_UP | (IFF_PROMISC if plan.promiscuous else 0)
        if link["flags"] & wanted != wanted:
            if plan.promiscuous and not link["flags"] & IFF_PROMISC:
                ledger.made_promiscuous(plan.bridge)
            host.link("set", index=index, flags=link["flags"] | wanted, change=wanted)
        _ensure_bridge_address(host, plan, index, ledger)
        return index


def bridge_first_address(bridge: str) -> IPv4Address | None:
    """The first IPv4 address of a bridge, for plans that use it as a gateway; None when there is none."""
    with IPRoute() as host:
        link = _link(host, bridge)
        addresses = _addresses(host, int(link["index"])) if link else []
    return addresses[0].ip if addresses else None


def _ensure_bridge_address(host: IPRoute, plan: Plan, index: int, ledger: BridgeLedger) -> None:
    addresses = _addresses(host, index)
    if plan.bridge_address is not None and plan.bridge_address not in addresses:
        ledger.address_added(plan.bridge, str(plan.bridge_address))
        _add_address(host, index, plan.bridge_address)
        addresses.append(plan.bridge_address)
    if not plan.gateway_on_bridge:
        return
    gateway = IPv4Interface((plan.gateway, plan.address.network.prefixlen))
    if gateway in addresses:
        return
    if addresses:
        raise AttachError(
            f"bridge {plan.bridge} has {', '.join(map(str, addresses))} but not the gateway {gateway}: "
            "the subnet of the network and its prefix length must agree"
        )
    ledger.address_added(plan.bridge, str(gateway))
    _add_address(host, index, gateway)


def remove_from_bridges(ledger: BridgeLedger) -> None:
    """Takes back what `ensure_bridge` did, and every container's cable. What is gone already is fine."""
    with IPRoute() as host:
        for link in host.get_links():
            if str(link.get_attr("IFLA_IFNAME")).startswith(VETH_PREFIX) and link.get_attr("IFLA_MASTER"):
                host.link("del", index=link["index"])
        for bridge, entry in ledger.entries.items():
            found = _link(host, bridge)
            if found is None:
                continue
            index = int(found["index"])
            if entry.created:
                host.link("del", index=index)
                continue
            if entry.promiscuous:
                host.link("set", index=index, flags=found["flags"] & ~IFF_PROMISC, change=IFF_PROMISC)
            ours = set(map(IPv4Interface, entry.addresses))
            for address in ours & set(_addresses(host, index)):
                host.addr("delete", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
            _forget_neighbours(host, index, {address.network for address in ours})


def _forget_neighbours(host: IPRoute, index: int, networks: set[IPv4Network]) -> None:
    """The kernel itself keeps them until its table is full."""
    for entry in host.get_neighbours(family=AF_INET):
        address = IPv4Address(entry.get_attr("NDA_DST"))
        if entry["ifindex"] != index or not any(address in network for network in networks):
            continue
        try:
            host.neigh("del", dst=str(address), ifindex=index)
        except NetlinkError as error:
            if error.code != errno.ENOENT:
                raise


def _connect(host: IPRoute, plan: Plan, bridge: int, network_namespace: str) -> None:
    """A cable from the bridge into the namespace, made in one request: the container's end is born there."""
    stale = _link(host, plan.host_interface)
    if stale is not None:
        # Left by a container whose namespace somebody keeps; with another peer it could not be ours.
        host.link("del", index=int(stale["index"]))
    descriptor = os.open(network_namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        peer: dict[str, Any] = {"ifname": INTERFACE, "net_ns_fd": descriptor, "address": plan.mac}
        mtu = {"mtu": plan.bridge_mtu} if plan.bridge_mtu else {}
        if plan.link_mtu or plan.bridge_mtu:
            peer["mtu"] = plan.link_mtu or plan.bridge_mtu
        host.link("add", ifname=plan.host_interface, kind="veth", peer=peer, master=bridge, state="up", **mtu)
    finally:
        os.close(descriptor)
    if plan.hairpin:
        link = _link(host, plan.host_interface)
        if link is not None:
            host.brport("set", index=int(link["index"]), mode=1)


def _configure(inside: IPRoute, plan: Plan) -> None:
    link = _link(inside, INTERFACE)
    if link is None:
        raise AttachError(f"{INTERFACE} vanished while the container was attached")
    index = int(link["index"])
    changes: dict[str, Any] = {}
    if (link.get_attr("IFLA_ADDRESS") or "").lower() != plan.mac:
        changes["address"] = plan.mac
    if plan.link_mtu and link.get_attr("IFLA_MTU") != plan.link_mtu:
        changes["mtu"] = plan.link_mtu
    if changes:
        inside.link("set", index=index, **changes)
    # The address before the flag: whoever waits for the interface to be up finds it complete.
    _add_address(inside, index, plan.address)
    if not link["flags"] & IFF_UP:
        inside.link("set", index=index, state="up")
    for route in plan.routes:
        via = {"gateway": str(route.gateway)} if route.gateway else {}
        _add_route(inside, dst=str(route.destination), oif=index, **via)
    if plan.default_route:
        _add_route(inside, dst="0.0.0.0/0", oif=index, gateway=str(plan.gateway))


def _forget_neighbour(host: IPRoute, bridge: int, address: IPv4Address) -> None:
    """What the host learned about an earlier holder of the address would send packets to nobody."""
    try:
        host.neigh("del", dst=str(address), ifindex=bridge)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise


def _link(route: IPRoute, name: str) -> Any:
    """The interface's message, or None."""
    try:
        found = route.link("get", ifname=name)
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise
    return next(iter(found), None)


def _addresses(route: IPRoute, index: int) -> list[IPv4Interface]:
    return [
        IPv4Interface((each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS"), each["prefixlen"]))
        for each in route.get_addr(family=AF_INET, index=index)
    ]


def _add_address(route: IPRoute, index: int, address: IPv4Interface) -> None:
    try:
        route.addr(
            "add",
            index=index,
            address=str(address.ip),
            prefixlen=address.network.prefixlen,
            broadcast=str(address.network.broadcast_address),
        )
    except NetlinkError as error:
        if error.code not in _HARMLESS:
            raise


def _add_route(route: IPRoute, **values: Any) -> None:
    try:
        route.route("add", **values)
    except NetlinkError as error:
        if error.code not in _HARMLESS:
            raise
