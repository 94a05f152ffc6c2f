"""The answers to the server's questions, with the same judgement as the server's own allocator.

Source of the rules: Rancher 1.6's scheduler. Compute amounts are counted when containers are allocated and freed when
they are removed; ports are held while containers run. A host nobody heard of is answered with success and nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from drover.client.scheduling import (
    CPU,
    DEALLOCATE,
    MEMORY,
    PORTS,
    START,
    STOP,
    AllocatedIp,
    Answer,
    PortRequest,
    PortReservation,
    SchedulerRequest,
    Subject,
)
from drover.common.errors import DroverError
from drover.host.scheduler.pools import SERVICE_LABEL, Pools
from drover.placement import Container, Host, HostPort, Nowhere, Request, labels_of, place, prioritize
from drover.placement.container import ANY_ADDRESS

RANDOM_PORTS = range(32768, 61001)


class Unplaceable(DroverError):
    """The host that was asked for cannot take the containers; the text says why."""


class Decisions:
    """Answers requests from the pools and keeps them in step with what was promised."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def prioritize(self, request: SchedulerRequest) -> Answer:
        """The hosts that have room, best first."""
        wanted = Request(members=tuple(self._members(request)))
        hosts = prioritize(wanted, self._pools.hosts.values())
        return Answer(prioritized_candidates=tuple(host.uuid for host in hosts))

    def reserve(self, request: SchedulerRequest) -> Answer:
        """Count the containers on a host. Raises Unplaceable unless they fit or the request forces it."""
        host = self._pools.hosts.get(request.host_id or "")
        if host is None:
            return Answer()
        members = tuple(self._members(request, placing=True))
        members = tuple(replace(each, ports=tuple(self._numbered(each, host))) for each in members)
        if request.phase == START or all(self._pools.find(each.uuid) for each in members):
            # Memory and CPU are counted since the allocation: only the ports may have been taken meanwhile.
            decision = place(Request(members, requested_host=host.id), [host])
        else:
            decision = place(Request(members), [host])
        if isinstance(decision, Nowhere):
            if not request.force:
                raise Unplaceable(decision.message)
            ports = {each.id: each.ports for each in members}
        else:
            ports = decision.ports
        placed = [replace(each, ports=ports.get(each.id, ())) for each in members]
        self._pools.promise(host, (self._kept(each, request.phase) for each in placed))
        names = {self._pools.number(uuid): number for uuid, number in _numbers(request)}
        reserved = tuple(_reservation(names.get(each.id, each.uuid), each) for each in placed if each.ports)
        return Answer(port_reservation=reserved or None)

    def release(self, request: SchedulerRequest) -> Answer:
        """Free what the containers of the request held."""
        for uuid in self._uuids(request):
            if request.phase == DEALLOCATE:
                self._pools.take(uuid)
            elif request.phase == STOP:
                self._pools.free_ports(uuid)
        return Answer()

    def _members(self, request: SchedulerRequest, *, placing: bool = False) -> Iterator[Container]:
        """The containers that are asked for. Amounts are of all together: they count for the first one."""
        number = self._pools.number if placing else self._pools.known_number
        memory = sum(each.amount or 0 for each in request.resource_requests if each.resource == MEMORY)
        cpu = sum(each.amount or 0 for each in request.resource_requests if each.resource == CPU)
        subjects = {each.uuid: each for each in request.context if each.uuid}
        for uuid in self._uuids(request) or ["nobody"]:
            labels = subjects.get(uuid, Subject()).labels
            service = labels.get(SERVICE_LABEL)
            yield Container(
                id=number(uuid),
                uuid=uuid,
                group=self._pools.number(f"service:{service.lower()}") if service else None,
                labels=labels_of(labels),
                memory=memory,
                milli_cpu=cpu,
                ports=tuple(_host_port(each) for each in _ports_of(request, uuid)),
            )
            memory = cpu = 0

    def _kept(self, container: Container, phase: str) -> Container:
        """What is known of a container from the world stays known."""
        known = self._pools.find(container.uuid)
        if known is None:
            return container
        if phase == START:
            return replace(known, ports=container.ports or known.ports, holds_ports=True)
        return replace(container, name=known.name)

    def _numbered(self, container: Container, host: Host) -> Iterator[HostPort]:
        """Ports that may have any number get a free one."""
        for port in container.ports:
            if port.public:
                yield port
                continue
            start = random.randrange(len(RANDOM_PORTS))  # noqa: S311 - spreads the numbers, guards nothing
            candidates = (*RANDOM_PORTS[start:], *RANDOM_PORTS[:start])
            free = (replace(port, public=number) for number in candidates)
            own = frozenset({container.id})
            yield next((each for each in free if host.port_holder(each, but=own) is None), port)

    def _uuids(self, request: SchedulerRequest) -> list[str]:
        named = (each.uuid for each in request.context)
        holders = (each.resource_uuid for each in request.resource_requests)
        return list(dict.fromkeys(uuid for uuid in (*named, *holders) if uuid))


def _ports_of(request: SchedulerRequest, uuid: str) -> Iterator[PortRequest]:
    for each in request.resource_requests:
        if each.resource == PORTS and each.resource_uuid == uuid:
            yield from each.port_requests


def _host_port(each: PortRequest) -> HostPort:
    return HostPort(
        each.ip_address or ANY_ADDRESS, each.public_port or 0, each.private_port, (each.protocol or "tcp").lower()
    )


def _numbers(request: SchedulerRequest) -> Iterable[tuple[str, str]]:
    """What the server calls the containers, by uuid."""
    for subject in request.context:
        if subject.uuid and subject.id is not None:
            yield subject.uuid, str(subject.id)
    for each in request.resource_requests:
        if each.resource_uuid and each.instance_id:
            yield each.resource_uuid, each.instance_id


def _reservation(name: str, container: Container) -> PortReservation:
    ports = (AllocatedIp(each.address, each.public, each.private, each.protocol) for each in container.ports)
    return PortReservation(name, tuple(ports))
