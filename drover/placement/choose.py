"""The decision: the best of the hosts that nothing speaks against, or for every host what does.

All members of a request go to one host. Hard conditions exclude a host; of the others the one wins that breaks the
fewest soft wishes, then has the fewest members of the same service, then the most free memory and CPU, then the
fewest containers.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from drover.placement.affinity import Affinity
from drover.placement.container import ANY_ADDRESS, Container, HostPort
from drover.placement.host import Host

_SHOWN_HOSTS = 10
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """Containers to place together.

    ``requested_host``: the user names the host; wishes and reservations are then not looked at, ports and
    ``only_hosts`` still are. ``only_hosts``: where it is possible at all (other members of the unit, containers that
    share volumes or the network, volumes of one host), each set with the reason to show. ``order``: hosts as somebody
    else ranks them, best first; it takes the place of our own ranking, but not of soft wishes.
    """

    members: tuple[Container, ...]
    affinities: tuple[Affinity, ...] = ()
    requested_host: int | None = None
    only_hosts: tuple[tuple[frozenset[int], str], ...] = ()
    order: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """The host, and the published ports of each member with the address they were given."""

    host: Host
    ports: dict[int, tuple[HostPort, ...]]


@dataclass(frozen=True, slots=True)
class Nowhere:
    """No host fits; ``message`` says why, host by host."""

    message: str


def place(request: Request, hosts: Collection[Host]) -> Placement | Nowhere:
    """Choose a host. Costs one look at each host in the usual case where any host fits."""
    twice = _doubled_port(request.members)
    if twice is not None:
        return Nowhere(f"Port {twice} requested more than once.")
    if request.requested_host is not None:
        candidates = [host for host in hosts if host.id == request.requested_host]
        if not candidates:
            return Nowhere(f"Requested host {request.requested_host} does not exist in this environment.")
    else:
        candidates = [host for host in hosts if host.accepts]
        if not candidates:
            return Nowhere(_no_candidates(hosts))
    best = _best(request, candidates)
    if best is None:
        return Nowhere(_explain(request, candidates))
    return best


def prioritize(request: Request, hosts: Iterable[Host]) -> list[Host]:
    """All hosts that nothing speaks against, best first."""
    return list(_fitting(request, (host for host in hosts if host.accepts)))


def _best(request: Request, candidates: Iterable[Host]) -> Placement | None:
    host = next(_fitting(request, candidates), None)
    return None if host is None else Placement(host, _addresses(request.members, host))


def _fitting(request: Request, candidates: Iterable[Host]) -> Iterator[Host]:
    soft = [each for each in request.affinities if not each.hard] if request.requested_host is None else []
    group = next((each.group for each in request.members if each.group is not None), None)
    position = {host_id: number for number, host_id in enumerate(request.order)}
    ranked = [
        (
            sum(each.objection(host) is not None for each in soft) if soft else 0,
            position.get(host.id, len(position)),
            host.members(group),
            _pressure(host),
            len(host.containers),
            host.id,
            host,
        )
        for host in candidates
    ]
    heapq.heapify(ranked)  # the first one usually fits: no need to put all of them in order
    while ranked:
        host = heapq.heappop(ranked)[-1]
        if next(objections(request, host), None) is None:
            yield host


def _pressure(host: Host) -> float:
    """The larger used share of memory and CPU, in steps of 5 % so that small differences do not outweigh the count."""
    if not host.memory and not host.milli_cpu:
        return 0.0
    memory = host.used_memory / host.memory if host.memory else 0.0
    cpu = host.used_milli_cpu / host.milli_cpu if host.milli_cpu else 0.0
    return round(max(memory, cpu) * 20) / 20


def objections(request: Request, host: Host) -> Iterator[str]:
    """What speaks against a host, in the words the user reads."""
    for allowed, reason in request.only_hosts:
        if host.id not in allowed:
            yield reason
    yield from _port_objections(request.members, host)
    if request.requested_host is not None:
        return
    for affinity in request.affinities:
        if affinity.hard:
            objection = affinity.objection(host)
            if objection is not None:
                yield objection
    yield from _resource_objections(request.members, host)
    if host.require_any and not any(_carries(member, host.require_any) for member in request.members):
        wanted = ", ".join(key if value is None else f"{key}={value}" for key, value in host.require_any)
        yield f"takes only containers labelled {wanted}"


def _resource_objections(members: tuple[Container, ...], host: Host) -> Iterator[str]:
    memory = sum(each.memory for each in members)
    if memory and host.memory is not None and memory > host.memory - host.used_memory:
        free = max(0, host.memory - host.used_memory)
        yield f"memory: {free // _MIB} MiB free, needs {-(-memory // _MIB)} MiB"
    cpu = sum(each.milli_cpu for each in members)
    if cpu and host.milli_cpu is not None and cpu > host.milli_cpu - host.used_milli_cpu:
        yield f"CPU: {max(0, host.milli_cpu - host.used_milli_cpu)}m free, needs {cpu}m"


def _port_objections(members: tuple[Container, ...], host: Host) -> Iterator[str]:
    own = frozenset(each.id for each in members)
    for member in members:
        if not member.ports:
            continue
        for port in _placed_ports(member, host, own):
            holder = host.port_holder(port, but=own)
            if holder is not None:
                yield f"port {port} used by {holder.name or holder.id}"


def _placed_ports(member: Container, host: Host, own: frozenset[int]) -> tuple[HostPort, ...]:
    """The ports with the address they would get: on a host with several listed addresses, one where all are free."""
    if not host.addresses:
        return member.ports
    free = next(
        (
            address
            for address in host.addresses
            if not any(host.port_holder(_at(port, address), but=own) for port in member.ports)
        ),
        host.addresses[0],
    )
    return tuple(_at(port, free) for port in member.ports)


def _at(port: HostPort, address: str) -> HostPort:
    """An explicit bind address stays."""
    if port.address != ANY_ADDRESS:
        return port
    return HostPort(address, port.public, port.private, port.protocol)


def _addresses(members: tuple[Container, ...], host: Host) -> dict[int, tuple[HostPort, ...]]:
    own = frozenset(each.id for each in members)
    return {each.id: _placed_ports(each, host, own) for each in members if each.ports}


def _carries(member: Container, wanted: tuple[tuple[str, str | None], ...]) -> bool:
    keys = {key for key, _ in member.labels}
    return any(key in keys if value is None else (key, value) in member.labels for key, value in wanted)


def _doubled_port(members: tuple[Container, ...]) -> HostPort | None:
    seen: list[HostPort] = []
    for member in members:
        for port in member.ports:
            if any(port.collides(other) for other in seen):
                return port
            seen.append(port)
    return None


def _no_candidates(hosts: Collection[Host]) -> str:
    if not hosts:
        return "No healthy hosts with sufficient resources available: the environment has no host, add one."
    states = "; ".join(f"{host.name}: {host.state}" for host in list(hosts)[:_SHOWN_HOSTS])
    return f"No healthy hosts with sufficient resources available. {states}"


def _explain(request: Request, candidates: list[Host]) -> str:
    lines = [
        f"{host.name}: {', '.join(dict.fromkeys(objections(request, host)))}" for host in candidates[:_SHOWN_HOSTS]
    ]
    if len(candidates) > _SHOWN_HOSTS:
        lines.append(f"and {len(candidates) - _SHOWN_HOSTS} more hosts")
    return f"No healthy hosts meet the resource constraints: [{', '.join(_wants(request))}]. {'; '.join(lines)}"


def _wants(request: Request) -> Iterator[str]:
    memory = sum(each.memory for each in request.members)
    cpu = sum(each.milli_cpu for each in request.members)
    if memory:
        yield f"memoryReservation: {memory}"
    if cpu:
        yield f"cpuReservation: {cpu}"
    for member in request.members:
        for port in member.ports:
            yield f"portReservation: {port}"
    yield f"instanceReservation: {len(request.members)}"
