"""What the kernel must know to send each remote address to its host through the VXLAN device: pure functions.

Three tables do it. A route sends the address into the device, a permanent neighbour entry gives it the hardware
address of its host's router, and the forwarding database says where that router is. Nothing is learned and nobody
asks by ARP, so nothing can be out of date but what this module computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from drover.host.network.routers.overlay import Overlay, Peer

VNI = 1042
PORT = 4789
DEVICE = "vtep1042"
MAIN_TABLE = "main"

VXLAN_OVERHEAD = 50


@dataclass(frozen=True, slots=True)
class Way:
    """How packets reach a peer: the underlay address that VXLAN sends to, and the routing table that leads to the
    peer's own managed address.

    Without a destination the addresses are only routed into the device: policies of the kernel take the packets from
    there, and where none does, they end there instead of leaving in the clear.
    """

    destination: str | None
    router_table: str = MAIN_TABLE


ChooseWay = Callable[[Peer], Way | None]
"""None: this peer is not reached through the device."""


@dataclass(slots=True)
class Forwarding:
    """Routes (address to table), neighbours (address to MAC) and forwarding database (MAC to underlay address)."""

    routes: dict[str, str] = field(default_factory=dict)
    neighbours: dict[str, str] = field(default_factory=dict)
    fdb: dict[str, str] = field(default_factory=dict)

    def enter(self, ip: str, way: Way, mac: str, *, router: bool) -> None:
        self.routes[ip] = way.router_table if router else MAIN_TABLE
        if way.destination is not None:
            self.neighbours[ip] = mac

    def take_over(self, ips: Iterable[str], part: Forwarding) -> None:
        """Replace what is said about some addresses."""
        for ip in ips:
            for own, new in ((self.routes, part.routes), (self.neighbours, part.neighbours)):
                if ip in new:
                    own[ip] = new[ip]
                else:
                    own.pop(ip, None)

    def only(self, ips: Iterable[str]) -> Forwarding:
        """The part about some addresses, without the forwarding database."""
        wanted = list(ips)
        return Forwarding(
            routes={ip: self.routes[ip] for ip in wanted if ip in self.routes},
            neighbours={ip: self.neighbours[ip] for ip in wanted if ip in self.neighbours},
        )


def vtep_mac(router_ip: str) -> str:
    """The hardware address of the VXLAN device of the router with this managed address.

    As in Rancher 1.6, so that it needs no exchange: 0e:00 and the four bytes of the address.
    """
    return ":".join(f"{byte:02x}" for byte in (0x0E, 0x00, *IPv4Address(router_ip).packed))


def forwarding(overlay: Overlay, choose: ChooseWay, ips: Iterable[str] | None = None) -> Forwarding:
    """The tables for all remote addresses, or (without the forwarding database) for those named.

    An address on a host whose router is not known yet gets no entry: it would only lead packets astray.
    """
    result = Forwarding()
    ways = {host: (way, vtep_mac(peer.router_ip)) for host, peer in overlay.peers.items() if (way := choose(peer))}
    for ip in overlay.remotes if ips is None else ips:
        remote = overlay.remotes.get(ip)
        known = ways.get(remote.host_address) if remote is not None else None
        if remote is not None and known is not None:
            result.enter(ip, *known, router=overlay.peers[remote.host_address].router_ip == ip)
    if ips is None:
        result.fdb = {mac: way.destination for way, mac in ways.values() if way.destination is not None}
    return result


@dataclass(frozen=True, slots=True)
class Batches:
    """Lines for `bridge -batch` and `ip -batch`, in the order in which they are to be done."""

    enter: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.enter) + len(self.tables) + len(self.leave)


def difference(before: Forwarding, after: Forwarding, device: str) -> Batches:
    """The smallest change from one state to the other; at no moment does a route lead to an unknown neighbour."""
    enter = [
        f"fdb replace {mac} dev {device} dst {destination} self permanent"
        for mac, destination in after.fdb.items()
        if before.fdb.get(mac) != destination
    ]
    leave = [
        f"fdb del {mac} dev {device} dst {destination} self"
        for mac, destination in before.fdb.items()
        if mac not in after.fdb
    ]
    tables = [
        f"route del {ip}/32 dev {device} table {table}"
        for ip, table in before.routes.items()
        if after.routes.get(ip) != table
    ]
    tables += [
        f"neigh replace {ip} lladdr {mac} nud permanent dev {device}"
        for ip, mac in after.neighbours.items()
        if before.neighbours.get(ip) != mac
    ]
    tables += [
        f"route replace {ip}/32 dev {device} table {table}"
        for ip, table in after.routes.items()
        if before.routes.get(ip) != table
    ]
    tables += [f"neigh del {ip} dev {device}" for ip in before.neighbours if ip not in after.neighbours]
    return Batches(tuple(enter), tuple(tables), tuple(leave))
