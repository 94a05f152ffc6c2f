"""The hosts of the environment with what runs on them, and with what was promised but does not run yet.

Fed by the world, which is a moment late: a reservation counts until the world shows the container, or until so long
has passed that it never will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from drover.client.world import Container as WorldContainer
from drover.client.world import Delta, World
from drover.client.world import Host as WorldHost
from drover.placement import Container, Host, labels_of, parse_ports

FORGET_SECONDS = 180.0
SERVICE_LABEL = "io.rancher.stack_service.name"
_HOLDS_PORTS = frozenset({"starting", "restarting", "running", "stopping", "updating-running", "migrating"})
_BROKEN = frozenset({"error", "erroring", "removing"})
_USABLE = frozenset({"active", "updating-active"})
_CONNECTED = frozenset({"", "active"})


@dataclass(slots=True)
class Pools:
    """``clock`` in seconds. Hosts are known by uuid; numbers for hosts and containers are our own."""

    clock: Callable[[], float]
    hosts: dict[str, Host] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _place: dict[str, Host] = field(default_factory=dict)
    _promised: dict[str, float] = field(default_factory=dict)

    def apply(self, world: World, delta: Delta) -> bool:
        """Take over a change of the world. Returns whether the labels of any host changed."""
        relabelled = False
        for before, after in delta.of("host"):
            if after is None:
                self._remove_host(before.uuid)
                continue
            relabelled |= before is not None and before.labels != after.labels
            self._put_host(after)
        for before, after in delta.of("container"):
            if after is not None:
                self._put_container(after)
            elif before is not None:
                self.take(before.uuid)
        if any(before is None for before, _ in delta.of("host")):
            for container in world.containers.values():  # some may have been heard of before their host
                if container.uuid not in self._place:
                    self._put_container(container)
        return relabelled

    def number(self, name: str) -> int:
        """Placement tells containers, hosts and services apart by numbers; the world by names."""
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def known_number(self, name: str) -> int:
        """0 for what has no number: who only asks shall not be remembered."""
        return self._numbers.get(name, 0)

    def find(self, uuid: str) -> Container | None:
        host = self._place.get(uuid)
        return None if host is None else host.containers.get(self.number(uuid))

    def promise(self, host: Host, containers: Iterable[Container]) -> None:
        """Count containers that will run."""
        for each in containers:
            self._put(host, each)
            self._promised[each.uuid] = self.clock()

    def free_ports(self, uuid: str) -> None:
        """A stopped container keeps its memory."""
        host, container = self._place.get(uuid), self.find(uuid)
        if host is not None and container is not None:
            host.put(replace(container, holds_ports=False))

    def take(self, uuid: str) -> None:
        """A container is no more."""
        self._promised.pop(uuid, None)
        host = self._place.pop(uuid, None)
        number = self._numbers.pop(uuid, None)
        if host is not None and number is not None:
            host.take(number)

    def forget_broken_promises(self) -> None:
        """What was reserved and never came."""
        latest = self.clock() - FORGET_SECONDS
        for uuid in [uuid for uuid, since in self._promised.items() if since < latest]:
            self.take(uuid)

    def _put(self, host: Host, container: Container) -> None:
        former = self._place.get(container.uuid)
        if former is not None and former is not host:
            former.take(container.id)
        self._place[container.uuid] = host
        host.put(container)

    def _put_container(self, each: WorldContainer) -> None:
        host = self.hosts.get(each.host_uuid or "")
        if host is None:
            if each.uuid not in self._promised:
                self.take(each.uuid)
            return
        self._promised.pop(each.uuid, None)
        service = each.labels.get(SERVICE_LABEL)
        container = Container(
            id=self.number(each.uuid),
            uuid=each.uuid,
            name=each.name or "",
            group=self.number(f"service:{service.lower()}") if service else None,
            labels=labels_of(each.labels),
            memory=each.memory_reservation or 0,
            milli_cpu=each.milli_cpu_reservation or 0,
            ports=parse_ports(each.ports),
            holds_ports=each.state in _HOLDS_PORTS,
            visible=each.state not in _BROKEN,
        )
        if self._place.get(each.uuid) is not host or self.find(each.uuid) != container:
            self._put(host, container)

    def _put_host(self, each: WorldHost) -> None:
        host = self.hosts.get(each.uuid)
        if host is None:
            host = self.hosts[each.uuid] = Host(self.number(each.uuid), uuid=each.uuid)
        host.name = each.name or each.hostname or each.uuid
        host.describe(labels=each.labels, memory=each.memory, milli_cpu=each.milli_cpu)
        host.state = each.state
        host.accepts = each.state in _USABLE and (each.agent_state or "") in _CONNECTED

    def _remove_host(self, uuid: str) -> None:
        host = self.hosts.pop(uuid, None)
        if host is None:
            return
        for container in list(host.containers.values()):
            self.take(container.uuid)
        self._numbers.pop(uuid, None)
