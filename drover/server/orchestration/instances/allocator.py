"""Finding a host for a container, or for all waiting containers of its unit at once.

The choice itself is :func:`drover.placement.place`. It runs without interruption between looking at the usage of the
environment's hosts and reserving the place in memory, so allocations never see half of each other; the database
guards host ports and addresses a second time through claims. A reservation lasts until its commit is heard or fails.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from drover.placement import Affinity, Container, Host, HostPort, Nowhere, Request, affinities_of, place
from drover.server.orchestration.instances.errors import StartFailed
from drover.server.orchestration.instances.usage import Usage, container_of
from drover.server.store import Changes, Record


@dataclass(frozen=True, slots=True)
class Allocation:
    """The place of one container. ``ports`` carry the addresses they were given on the host."""

    host: Host
    ports: tuple[HostPort, ...]


class Scheduler(Protocol):
    """A program of the environment that has a say in placement."""

    async def prioritize(self, environment_id: int, members: list[Record]) -> list[str] | None:
        """The uuids of the hosts it would take, best first; None if it has no opinion."""
        ...


class Allocator:
    """Places containers. Await :meth:`ready` once; the rest is in memory."""

    def __init__(self, usage: Usage, schedulers: Iterable[Scheduler] = ()) -> None:
        self._usage = usage
        self._schedulers = tuple(schedulers)
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def allocate(
        self, instance: Record, *, only_hosts: tuple[tuple[frozenset[int], str], ...] = ()
    ) -> Allocation:
        """Choose and reserve. Raises StartFailed with the reason host by host."""
        await self._usage.ready()
        environment_id = int(instance["accountId"])
        async with self._locks[environment_id]:
            preferred = await self._ask_schedulers(environment_id, instance)
            return self._choose(environment_id, instance, only_hosts, preferred)

    def forget(self, instance_id: int) -> None:
        """The plan of an allocation failed: take the reservation back."""
        self._usage.release(instance_id)

    def plan_ports(self, changes: Changes, instance: Record, allocation: Allocation) -> None:
        """Plan the claims that guard the host's ports in the database."""
        for port in allocation.ports:
            if port.public:
                changes.claim(port_claim(allocation.host.id, port), instance)

    async def _ask_schedulers(self, environment_id: int, instance: Record) -> frozenset[str] | None:
        allowed: frozenset[str] | None = None
        for scheduler in self._schedulers:
            answer = await scheduler.prioritize(environment_id, self._members(instance))
            if answer is not None:
                allowed = frozenset(answer) if allowed is None else allowed & frozenset(answer)
        return allowed

    def _members(self, instance: Record) -> list[Record]:
        unit = instance["deploymentUnitUuid"]
        others = [each for each in self._usage.waiting(unit) if each.id != instance.id] if unit else []
        return [instance, *(each for each in others if _waits_for_place(each))]

    def _choose(
        self,
        environment_id: int,
        instance: Record,
        only_hosts: tuple[tuple[frozenset[int], str], ...],
        preferred: frozenset[str] | None,
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
        if preferred is not None and requested is None:
            hosts = [host for host in hosts if host.uuid in preferred]
        decision = place(request, hosts)
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
    return dict.fromkeys(wish for each in members for wish in affinities_of(each["labels"], each["environment"]))


def _with_ports(container: Container, ports: tuple[HostPort, ...] | None) -> Container:
    return replace(container, ports=ports) if ports else container
