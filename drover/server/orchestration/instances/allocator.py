"""Finding a host for a container, or for all waiting containers of its unit at once.

The choice itself is :func:`drover.placement.place`. It runs without interruption between looking at the usage of the
environment's hosts and reserving the place in memory, so allocations never see half of each other; the database
guards host ports and addresses a second time through claims. A reservation lasts until its commit is heard or fails.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from drover.placement import (
    Affinity,
    Container,
    Host,
    HostPort,
    Nowhere,
    Placement,
    Request,
    Subject,
    affinities_of,
    place,
)
from drover.server.orchestration.instances.errors import StartFailed
from drover.server.orchestration.instances.usage import Usage, container_of
from drover.server.store import Changes, Record


@dataclass(frozen=True, slots=True)
class Allocation:
    """The place of one container. ``ports`` carry the addresses they were given on the host."""

    host: Host
    ports: tuple[HostPort, ...]


class Schedulers(Protocol):
    """The programs of an environment that have a say in placement. Both raise StartFailed when one refuses."""

    async def prioritize(self, environment_id: int, members: Sequence[Record]) -> list[str] | None:
        """The uuids of the hosts they would take, best first; None if nobody has an opinion."""
        ...

    async def reserve(
        self, environment_id: int, host_uuid: str, members: Sequence[Record], *, restart: bool, force: bool
    ) -> Mapping[int, tuple[HostPort, ...]]:
        """Tell of a placement; the ports of containers that get others than they asked for."""
        ...


class Allocator:
    """Places containers: in memory, but for what schedulers of the environment are asked."""

    def __init__(self, usage: Usage, schedulers: Schedulers | None = None) -> None:
        self._usage = usage
        self._schedulers = schedulers
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def allocate(
        self, instance: Record, *, only_hosts: tuple[tuple[frozenset[int], str], ...] = ()
    ) -> Allocation:
        """Choose and reserve. Raises StartFailed with the reason host by host."""
        await self._usage.ready()
        environment_id = int(instance["accountId"])
        if self._schedulers is None:
            return self._choose(environment_id, instance, only_hosts, None)
        # One after another: what schedulers offer the next container depends on where this one went.
        async with self._locks[environment_id]:
            first = not self._is_placed(instance)
            members = self._members(instance) if first else [instance]
            preferred = None
            if first and _requested_host(members) is None:
                preferred = await self._schedulers.prioritize(environment_id, members)
            allocation = self._choose(environment_id, instance, only_hosts, preferred)
            return await self._reserve(environment_id, instance, allocation, members, first=first)

    def _is_placed(self, instance: Record) -> bool:
        return instance["hostId"] is not None or self._usage.place_of(instance.id) is not None

    async def _reserve(
        self, environment_id: int, instance: Record, allocation: Allocation, members: list[Record], *, first: bool
    ) -> Allocation:
        """Tell the schedulers, and take over the ports that they give. A refusal takes the place back."""
        assert self._schedulers is not None
        if not first and (instance["hostId"] is None or not allocation.ports):
            return allocation  # told with its unit, or holding nothing that could have been taken meanwhile
        force = _requested_host(members) is not None
        try:
            given = await self._schedulers.reserve(
                environment_id, allocation.host.uuid, members, restart=not first, force=force
            )
        except StartFailed:
            for each in members if first else ():
                self._usage.release(each.id)
            raise
        for each in members:
            if each.id in given:
                container = allocation.host.containers.get(each.id)
                if container is not None:
                    self._usage.reserve(allocation.host, replace(container, ports=given[each.id]))
        return replace(allocation, ports=given.get(instance.id, allocation.ports))

    def forget(self, instance_id: int) -> None:
        """The plan of an allocation failed: take the reservation back."""
        self._usage.release(instance_id)

    def plan_ports(self, changes: Changes, instance: Record, allocation: Allocation) -> None:
        """Plan the claims that guard the host's ports in the database."""
        for port in allocation.ports:
            if port.public:
                changes.claim(port_claim(allocation.host.id, port), instance)

    def _members(self, instance: Record) -> list[Record]:
        unit = instance["deploymentUnitUuid"]
        others = [each for each in self._usage.waiting(unit) if each.id != instance.id] if unit else []
        return [instance, *(each for each in others if _waits_for_place(each))]

    def _choose(
        self,
        environment_id: int,
        instance: Record,
        only_hosts: tuple[tuple[frozenset[int], str], ...],
        preferred: list[str] | None,
    ) -> Allocation:
        place_of = instance["hostId"] or self._usage.place_of(instance.id)
        if place_of is not None:
            return self._restart(instance, int(place_of))
        members = self._members(instance)
        requested = _requested_host(members)
        request = Request(
            members=tuple(replace(container_of(each), holds_ports=True, visible=True) for each in members),
            affinities=() if requested is not None else tuple(_affinities(members)),
            requested_host=requested,
            only_hosts=(*only_hosts, *self._unit_host(instance)),
        )
        hosts = self._usage.hosts(environment_id)
        decision = place(request, hosts) if preferred is None else _among(request, hosts, preferred)
        if isinstance(decision, Nowhere):
            raise StartFailed(f"Allocation failed: {decision.message}")
        for member in request.members:
            self._usage.reserve(decision.host, _with_ports(member, decision.ports.get(member.id)))
        return Allocation(decision.host, decision.ports.get(instance.id, ()))

    def _restart(self, instance: Record, host_id: int) -> Allocation:
        """The container has its place, from an earlier start or reserved with its unit: only its ports may be gone."""
        host = self._usage.host(host_id)
        if host is None:
            raise StartFailed(f"Allocation failed: host {host_id} does not exist any more; remove this container.")
        container = replace(container_of(instance), holds_ports=True, visible=True)
        reserved = host.containers.get(instance.id)
        if instance["hostId"] is None and reserved is not None:
            return Allocation(host, reserved.ports)
        decision = place(Request((container,), requested_host=host_id), [host])
        if isinstance(decision, Nowhere):
            raise StartFailed(f"Allocation failed: {decision.message}")
        ports = decision.ports.get(instance.id, ())
        self._usage.reserve(host, _with_ports(container, ports))
        return Allocation(host, ports)

    def _unit_host(self, instance: Record) -> Iterable[tuple[frozenset[int], str]]:
        unit = instance["deploymentUnitUuid"]
        placed = self._usage.unit_hosts(unit) if unit else set()
        if len(placed) > 1:
            raise StartFailed("Allocation failed: Instances to allocate assigned to different hosts.")
        for host_id in placed:
            host = self._usage.host(host_id)
            yield frozenset({host_id}), f"the other containers of the unit are on {host.name if host else host_id}"


def _among(request: Request, hosts: Sequence[Host], preferred: Sequence[str]) -> Placement | Nowhere:
    """The first of the hosts that schedulers offer, in their order, that fits."""
    offered = {host.uuid: host for host in hosts if host.uuid in preferred}
    order = tuple(offered[each].id for each in preferred if each in offered)
    decision = place(replace(request, order=order), list(offered.values()))
    if isinstance(decision, Placement):
        return decision
    own = place(request, hosts)
    if isinstance(own, Nowhere):
        return own
    return Nowhere(
        f"No healthy hosts meet the resource constraints: the scheduler service offers {len(offered)} of {len(hosts)} "
        f"hosts, and none of these fits, but {own.host.name} would; look at the logs of the scheduler service."
    )


def port_claim(host_id: int, port: HostPort) -> str:
    """The key under which the database holds a port of a host."""
    return f"port:{host_id}:{port.address}:{port.protocol}:{port.public}"


def _waits_for_place(record: Record) -> bool:
    """Containers that are not to be started take no place."""
    return record.state in ("requested", "creating", "starting") and record["startOnCreate"] is not False


def _requested_host(members: list[Record]) -> int | None:
    requested = {int(each["requestedHostId"]) for each in members if each["requestedHostId"] is not None}
    if len(requested) > 1:
        raise StartFailed("Allocation failed: Instances to allocate have conflicting requested host ids.")
    return next(iter(requested), None)


def _affinities(members: list[Record]) -> Iterable[Affinity]:
    wishes = dict.fromkeys(wish for each in members for wish in affinities_of(each["labels"], each["environment"]))
    failed = {int(host_id) for each in members for host_id in each["avoidedHostIds"] or ()}
    return [*wishes, *(Affinity(Subject.HOST, "id", str(each), wanted=False, hard=False) for each in sorted(failed))]


def _with_ports(container: Container, ports: tuple[HostPort, ...] | None) -> Container:
    return replace(container, ports=ports) if ports else container
