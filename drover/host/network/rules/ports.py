"""Host ports: which container answers on which port of this host."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from drover.client.world import Container, World
from drover.host.network.names import LABEL_HOST_PORTS
from drover.host.network.rules.networks import BridgedNetwork, considered_running
from drover.host.network.rules.tables import HOSTPORTS_POSTROUTING, OUTPUT, PREROUTING, RAW_PREROUTING, Owner

log = structlog.get_logger(__name__)

ANY = "0.0.0.0"  # noqa: S104 - a published port's "every address", not a bind
MARK = 4200
"""Put on packets for host ports, so that FORWARD lets them through (0x1068)."""

_PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class HostPort:
    """`address`:`port` of this host leads to `target`:`target_port`."""

    address: str
    port: int
    protocol: str
    target: str
    target_port: int
    bridge: str
    container: str

    @property
    def claim(self) -> tuple[str, int, str]:
        """What only one container can have."""
        return self.address, self.port, self.protocol


@dataclass(frozen=True, slots=True)
class Conflict:
    """A container wanted a port that another one has."""

    wanted: HostPort
    holder: str


def host_ports(
    world: World, networks: Mapping[str, BridgedNetwork], *, started: Mapping[str, str]
) -> tuple[tuple[HostPort, ...], tuple[Conflict, ...]]:
    """The host's ports and the claims that lost. `started`: Docker id -> the engine's start time.

    The container that started first keeps a port; one that nobody knows a start of comes last. Bindings to one
    address stand before bindings to all, because the first rule that matches decides.
    """
    host = world.host
    eligible = [
        each
        for each in world.containers.values()
        if each.host_uuid == host and each.ports and each.primary_ip and considered_running(each)
    ]
    eligible.sort(key=lambda each: _seniority(each, started))
    taken: dict[tuple[str, int, str], HostPort] = {}
    conflicts: list[Conflict] = []
    for container in eligible:
        network = networks.get(container.network_uuid or "")
        if not _publishes(container, world, network):
            continue
        for text in container.ports:
            port = parse_port(text, container, network.bridge if network else "")
            if port is None:
                continue
            holder = taken.setdefault(port.claim, port)
            if holder.container != port.container:
                conflicts.append(Conflict(port, holder.container))
    ordered = sorted(taken.values(), key=lambda each: (each.address == ANY, each.address, each.port, each.protocol))
    return tuple(ordered), tuple(conflicts)


def parse_port(text: str, container: Container, bridge: str) -> HostPort | None:
    """`[address:]public:private[/protocol]`; a private port alone has no host port and is left out."""
    binding, _, protocol = text.partition("/")
    parts = binding.split(":")
    if len(parts) == 2:
        parts = [ANY, *parts]
    if len(parts) != 3 or not container.primary_ip:
        return None
    try:
        address = str(ipaddress.IPv4Address(parts[0] or ANY))
        target = str(ipaddress.IPv4Address(container.primary_ip))
        port, target_port = int(parts[1]), int(parts[2])
    except ValueError:
        return None
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS or not (0 < port < 65536 and 0 < target_port < 65536):
        return None
    return HostPort(address, port, protocol, target, target_port, bridge, container.uuid or container.external_id or "")


def port_rules(ports: tuple[HostPort, ...], *, metadata_address: str, metadata_port: int) -> Owner:
    raw: list[str] = []
    prerouting: list[str] = []
    output: list[str] = []
    postrouting: list[str] = []
    if metadata_port != 80:
        redirect = (
            f"-d {metadata_address}/32 -p tcp -m tcp --dport 80 "
            f"-j DNAT --to-destination {metadata_address}:{metadata_port}"
        )
        prerouting.append(redirect)
        output.append(redirect)
    for each in ports:
        outside = f"! -i {each.bridge} " if each.bridge else ""
        destination = "" if each.address == ANY else f"-d {each.address} "
        local = "-m addrtype --dst-type LOCAL" if each.address == ANY else f"-d {each.address}"
        protocol, to = each.protocol, f"{each.target}:{each.target_port}"
        match = f"{outside}-p {protocol} {destination}--dport {each.port}"
        raw.append(f"{match} -j MARK --set-mark {MARK}")
        prerouting.append(f"{match} -j DNAT --to {to}")
        # From this host itself and from containers on its bridge.
        near = f"-p {protocol} -m {protocol} --dport {each.port} {local} -j DNAT --to-destination {to}"
        prerouting.append(near)
        output.append(near)
        # A container that reaches itself through the host must not see its own address as the sender.
        postrouting.append(
            f"-s {each.target} -d {each.target} -p {protocol} -m {protocol} --dport {each.target_port} -j MASQUERADE"
        )
    return Owner(
        "host-ports",
        {
            "raw": {RAW_PREROUTING: raw},
            "nat": {
                PREROUTING: prerouting,
                OUTPUT: output,
                HOSTPORTS_POSTROUTING: list(dict.fromkeys(postrouting)),
            },
        },
    )


def _publishes(container: Container, world: World, network: BridgedNetwork | None) -> bool:
    known = world.networks.get(container.network_uuid or "")
    open_to_all = network.host_ports if network else known is not None and known.host_ports
    return open_to_all or (container.system and container.labels.get(LABEL_HOST_PORTS) == "true")


def _seniority(container: Container, started: Mapping[str, str]) -> tuple[bool, str, int, str]:
    moment = started.get(container.external_id or "", "")
    return not moment, moment, container.create_index or 0, container.uuid
