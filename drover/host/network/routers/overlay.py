"""Which managed addresses live on other hosts, kept as the world changes.

A router answers for every container that runs elsewhere in its network. What it needs to know is small: for each such
address the host it is on, and for each host its router. With thousands of containers a change of one of them must not
cost a look at all, so :class:`Overlay` keeps both tables and says after every delta which entries differ. Only what
moves many entries at once (a host's address, the network, this router itself) makes it compute everything again.

As in Rancher 1.6, a container counts while it is starting, running or stopping, and when two claim one address, as
during an upgrade, one entry is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network

from drover.client.world import Container, Delta, Host, Network, World

CONSIDERED_RUNNING = ("running", "starting", "stopping")
"""Best first: of two containers with one address, the better state wins."""


@dataclass(frozen=True, slots=True)
class OwnLink:
    """The interface this router hangs on, as the kernel shows it."""

    name: str
    interface: IPv4Interface
    mac: str
    mtu: int
    gateway: str | None = None

    @property
    def address(self) -> str:
        return str(self.interface.ip)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the environment this router is. ``host_address`` is what other hosts reach this host at."""

    container: Container
    host: Host
    network: Network
    host_address: str
    subnet: IPv4Network
    gateway: str

    @property
    def address(self) -> str:
        """The managed address of this router."""
        return str(self.container.primary_ip)


@dataclass(frozen=True, slots=True)
class Remote:
    """A managed address on another host."""

    ip: str
    host_address: str


@dataclass(frozen=True, slots=True)
class Peer:
    """The router of another host. ``answers`` says whether it can be expected to: its host is active and it runs."""

    host_address: str
    host_uuid: str
    router_ip: str
    answers: bool = True


@dataclass(slots=True)
class Changed:
    """The addresses and hosts (by address) whose entry differs; ``everything`` when no list would be shorter."""

    everything: bool = False
    ips: set[str] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.everything or bool(self.ips) or bool(self.hosts)


@dataclass(frozen=True, slots=True)
class _Claim:
    """One container's claim on its address."""

    order: tuple[int, int, str]
    host_address: str


def locate(world: World, link: OwnLink) -> Place | None:
    """This router in the world: the container of the own host that has the link's address.

    None when the world does not (yet) say enough; that is no reason to change anything.
    """
    host = world.own_host
    if host is None:
        return None
    own = _own_container(world.containers.values(), host, link)
    if own is None or own.network_uuid is None:
        return None
    network = world.networks.get(own.network_uuid)
    address = host.agent_ip or own.host_ip
    if network is None or not address:
        return None
    subnet = _subnet(network) or link.interface.network
    return Place(own, host, network, address, subnet, link.gateway or str(subnet.network_address + 1))


class Overlay:
    """The remote addresses and peers of one router."""

    def __init__(self, link: OwnLink) -> None:
        self.link = link
        self.place: Place | None = None
        self.remotes: dict[str, Remote] = {}
        self.peers: dict[str, Peer] = {}
        self._claims: dict[str, dict[str, _Claim]] = {}

    def take(self, world: World, delta: Delta) -> Changed:
        """Follow the world by one delta, which the world has already taken in."""
        if not world.loaded:
            return Changed()
        if self.place is None or self._moves_many(world, delta):
            return self._rebuild(world)
        changed = Changed()
        touched: set[str] = set()
        routers = False
        for before, after in delta.of("container"):
            touched |= self._claim(world, before, after)
            routers = routers or self._is_router(before) or self._is_router(after)
        for ip in touched:
            if self._settle(ip):
                changed.ips.add(ip)
        if routers:
            changed.hosts = self._find_peers(world)
        return changed

    def of_host(self, host_address: str) -> list[Remote]:
        """The addresses that live on one host. Looks at all of them: for rare events."""
        return [remote for remote in self.remotes.values() if remote.host_address == host_address]

    def _moves_many(self, world: World, delta: Delta) -> bool:
        place = self.place
        assert place is not None
        if delta.host_changed:
            return True
        for before, after in delta.of("host"):
            if before is None or after is None or before.agent_ip != after.agent_ip or before.state != after.state:
                return True
        if any((after or before).uuid == place.network.uuid for before, after in delta.of("network")):
            return True
        return any((after or before).uuid == place.container.uuid for before, after in delta.of("container"))

    def _rebuild(self, world: World) -> Changed:
        place = locate(world, self.link) or self.place  # a router that is just being replaced still routes
        if place is None:
            return Changed()
        self.place = place
        self._claims = {}
        for container in world.containers.values():
            self._claim(world, None, container)
        self.remotes = {}
        for ip in self._claims:
            self._settle(ip)
        self._find_peers(world)
        return Changed(everything=True)

    def _claim(self, world: World, before: Container | None, after: Container | None) -> set[str]:
        """Enter what one container claims now instead of what it claimed before; the addresses this is about."""
        touched: set[str] = set()
        if before is not None and before.primary_ip in self._claims:
            assert before.primary_ip is not None
            if self._claims[before.primary_ip].pop(before.uuid, None) is not None:
                touched.add(before.primary_ip)
        if after is None or not self._counts(after):
            return touched
        host_address = self._host_address(world, after)
        if host_address:
            assert after.primary_ip is not None
            order = (CONSIDERED_RUNNING.index(after.state), -(after.create_index or 0), after.uuid)
            self._claims.setdefault(after.primary_ip, {})[after.uuid] = _Claim(order, host_address)
            touched.add(after.primary_ip)
        return touched

    def _settle(self, ip: str) -> bool:
        """Decide whose address it is; whether that differs from before."""
        assert self.place is not None
        claims = self._claims.get(ip)
        if not claims:
            self._claims.pop(ip, None)
            return self.remotes.pop(ip, None) is not None
        winner = min(claims.values(), key=lambda claim: claim.order)
        if winner.host_address == self.place.host_address:
            return self.remotes.pop(ip, None) is not None
        remote = Remote(ip, winner.host_address)
        if self.remotes.get(ip) == remote:
            return False
        self.remotes[ip] = remote
        return True

    def _find_peers(self, world: World) -> set[str]:
        """The routers of the other hosts; the hosts (by address) whose router differs from before."""
        assert self.place is not None
        found: dict[str, Peer] = {}
        for container in world.containers.values():
            if not self._is_router(container) or not self._counts(container):
                continue
            address = self._host_address(world, container)
            if address and address != self.place.host_address:
                host = world.hosts.get(container.host_uuid or "")
                answers = host is not None and host.state == "active" and container.state == "running"
                peer = Peer(address, container.host_uuid or "", str(container.primary_ip), answers)
                known = found.get(address)
                found[address] = peer if known is None else min(known, peer, key=lambda each: each.router_ip)
        before, self.peers = self.peers, found
        return {host for host in before.keys() | found.keys() if before.get(host) != found.get(host)}

    def _counts(self, container: Container) -> bool:
        assert self.place is not None
        return (
            container.state in CONSIDERED_RUNNING
            and bool(container.primary_ip)
            and container.network_from_container_uuid is None
            and container.network_uuid == self.place.network.uuid
        )

    def _is_router(self, container: Container | None) -> bool:
        """Whether a container is of this router's own service."""
        assert self.place is not None
        return container is not None and any(
            membership in self.place.container.memberships for membership in container.memberships
        )

    @staticmethod
    def _host_address(world: World, container: Container) -> str | None:
        host = world.hosts.get(container.host_uuid or "")
        return (host.agent_ip if host is not None else None) or container.host_ip


def _own_container(containers: Iterable[Container], host: Host, link: OwnLink) -> Container | None:
    """By address on the own host; of several, the one with the link's MAC, then the one that lives best."""
    candidates = [
        each
        for each in containers
        if each.host_uuid == host.uuid
        and each.primary_ip == link.address
        and each.network_from_container_uuid is None
        and each.state in CONSIDERED_RUNNING
    ]
    return min(
        candidates,
        key=lambda each: (each.primary_mac_address != link.mac, CONSIDERED_RUNNING.index(each.state), each.uuid),
        default=None,
    )


def _subnet(network: Network) -> IPv4Network | None:
    """The subnet that the network's CNI configuration gives its bridges."""
    configs = network.metadata.get("cniConfig")
    if not isinstance(configs, dict):
        return None
    for name in sorted(configs):
        config = configs[name]
        text = config.get("bridgeSubnet") if isinstance(config, dict) else None
        if isinstance(text, str) and text:
            try:
                return IPv4Network(text, strict=False)
            except ValueError:
                continue
    return None
