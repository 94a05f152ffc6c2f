"""What a server asks a scheduler of an environment, and what the scheduler answers.

The words are those of Rancher 1.6's scheduler service. `scheduler.prioritize` asks for hosts, best first;
`scheduler.reserve` counts containers on a host and may choose the addresses and numbers of their ports;
`scheduler.release` takes that back. Memory is in bytes, CPU in thousandths of a core.
"""

from __future__ import annotations

from typing import Any

import msgspec

PRIORITIZE = "scheduler.prioritize"
RESERVE = "scheduler.reserve"
RELEASE = "scheduler.release"
EVENTS = (PRIORITIZE, RESERVE, RELEASE)

SCHEDULING_LABEL = "io.rancher.container.agent_service.scheduling"
"""Marks the containers that are asked. Its value is a number that orders several of them."""

ALLOCATE = "instance.allocate"
START = "instance.start"
STOP = "instance.stop"
DEALLOCATE = "instance.deallocate"

AMOUNT_POOL = "computePool"
PORT_POOL = "portPool"
INSTANCES = "instanceReservation"
MEMORY = "memoryReservation"
CPU = "cpuReservation"
PORTS = "portReservation"


class PortRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Without a ``protocol`` it is TCP, without a ``public_port`` any free one will do."""

    private_port: int = 0
    public_port: int | None = None
    ip_address: str | None = None
    protocol: str | None = None


class ResourceRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An amount of one resource (`computePool`), or ports of one container (`portPool`)."""

    resource: str
    type: str
    amount: int | None = None
    instance_id: str | None = None
    resource_uuid: str | None = None
    port_requests: tuple[PortRequest, ...] = ()


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """A container that the request is about."""

    id: int | str | None = None
    uuid: str | None = None
    data: dict[str, Any] = {}

    @property
    def labels(self) -> dict[str, str]:
        fields = self.data.get("fields")
        labels = fields.get("labels") if isinstance(fields, dict) else None
        return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


class SchedulerRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    phase: str = ""
    resource_requests: tuple[ResourceRequest, ...] = ()
    context: tuple[Subject, ...] = ()
    host_id: str | None = msgspec.field(default=None, name="hostID")
    force: bool = False


class Asked(msgspec.Struct, frozen=True, rename="camel"):
    """The `data` of an event."""

    scheduler_request: SchedulerRequest


class AllocatedIp(msgspec.Struct, frozen=True, rename="camel"):
    allocated_ip: str = msgspec.field(name="allocatedIP")
    public_port: int
    private_port: int
    protocol: str


class PortReservation(msgspec.Struct, frozen=True, rename="camel"):
    instance_id: str = msgspec.field(name="instanceID")
    allocated_ips: tuple[AllocatedIp, ...] = msgspec.field(name="allocatedIPs")


class Answer(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The `data` of a reply: hosts for `prioritize`, ports for `reserve`, nothing for `release`."""

    prioritized_candidates: tuple[str, ...] | None = None
    port_reservation: tuple[PortReservation, ...] | None = None
