"""What runs where, in memory: the usage of every host, built once from the database and kept current from commits.

A container costs a few dictionary operations per change of its place or state, however many others there are.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence

from drover.placement import Container, Host, labels_of, parse_ports
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Condition, Query, Record, Store, Touched

PORT_STATES = frozenset({"starting", "restarting", "running", "stopping", "updating-running", "migrating"})
BROKEN_STATES = frozenset({"error", "erroring", "removing"})
USABLE_HOST_STATES = frozenset({"active", "updating-active"})
_PAGE = 5000


def container_of(record: Record) -> Container:
    """A container as placement sees it."""
    return Container(
        id=record.id,
        uuid=record.uuid,
        name=record.name or "",
        group=record["serviceId"],
        labels=labels_of(record["labels"]),
        memory=int(record["memoryReservation"] or 0),
        milli_cpu=int(record["milliCpuReservation"] or 0),
        ports=parse_ports(record["publishedPorts"] or record["ports"]),
        holds_ports=record.state in PORT_STATES,
        visible=record.state not in BROKEN_STATES,
    )


class Usage:
    """Hosts with what they run, by environment, and the containers that still wait for a place, by unit."""

    def __init__(self, store: Store, hosts: Mirror, agents: Mirror) -> None:
        self._store = store
        self._host_rows = hosts
        self._agents = agents
        self._hosts: dict[int, Host] = {}
        self._environments: dict[int, dict[int, Host]] = defaultdict(dict)
        self._place: dict[int, int] = {}
        self._waiting: dict[str, dict[int, Record]] = defaultdict(dict)
        self._unit_members: dict[str, dict[int, int]] = defaultdict(dict)
        self._dependants: dict[int, set[int]] = defaultdict(set)
        self._generations: Counter[int] = Counter()
        self._heard: set[int] = set()
        self._loaded = False
        self._loading = asyncio.Lock()
        hosts.on_change(self._host_changed)
        agents.on_change(self._agent_changed)
        store.listen(self._hear)

    async def ready(self) -> None:
        """Read what runs, once."""
        if not self._loaded:
            async with self._loading:
                await self._load()

    async def _load(self) -> None:
        if self._loaded:
            return
        await self._host_rows.ready()
        await self._agents.ready()
        after = 0
        while True:
            query = Query("instance", (Condition("removed", "null"),), limit=_PAGE, after_id=after)
            page = await self._store.find(query)
            for record in page:
                if record.id not in self._heard:
                    self._take_over(None, record)
            if len(page) < _PAGE:
                break
            after = page[-1].id
        self._heard.clear()
        self._loaded = True

    # Questions

    def hosts(self, environment_id: int) -> list[Host]:
        return list(self._environments.get(environment_id, {}).values())

    def host(self, host_id: int) -> Host | None:
        return self._hosts.get(host_id)

    def waiting(self, unit: str) -> list[Record]:
        """The members of a unit that have no host yet."""
        return list(self._waiting.get(unit, {}).values())

    def unit_hosts(self, unit: str) -> set[int]:
        """Where members of a unit are already."""
        return set(self._unit_members.get(unit, {}).values())

    def place_of(self, instance_id: int) -> int | None:
        """The host of a container, reserved or committed."""
        return self._place.get(instance_id)

    def network_dependants(self, instance_id: int) -> set[int]:
        """Containers that use the network of this one."""
        return set(self._dependants.get(instance_id, ()))

    def on_host(self, host_id: int) -> list[int]:
        host = self._hosts.get(host_id)
        return [] if host is None else list(host.containers)

    def generation(self, host_id: int) -> int:
        """A number that grows with every change of a container of the host."""
        return self._generations[host_id]

    # Reservations

    def reserve(self, host: Host, container: Container) -> None:
        """Count a container before its row says so; the commit confirms it, :meth:`release` takes it back."""
        previous = self._place.get(container.id)
        if previous is not None and previous != host.id:
            self._hosts[previous].take(container.id)
        self._place[container.id] = host.id
        host.put(container)

    def release(self, container_id: int) -> None:
        """A reservation that did not come true."""
        host_id = self._place.pop(container_id, None)
        host = self._hosts.get(host_id) if host_id is not None else None
        if host is not None:
            host.take(container_id)

    # Following the commits

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type != "instance":
                continue
            if not self._loaded:
                self._heard.add(row.id)
            self._take_over(row.before, row.after)

    def _take_over(self, before: Record | None, after: Record | None) -> None:
        row = after or before
        if row is None:
            return
        if after is None or after["removed"] is not None:
            self._drop(row)
            return
        unit = after["deploymentUnitUuid"]
        host_id = after["hostId"]
        self._generations[host_id] += 1
        network_of = after["networkContainerId"]
        if network_of is not None:
            self._dependants[network_of].add(after.id)
        if host_id is None:
            if unit:
                self._waiting[unit][after.id] = after
            return
        if unit:
            self._leave_waiting(unit, after.id)
            self._unit_members[unit][after.id] = host_id
        if before is not None and self._place.get(after.id) == host_id and not _matters(before, after):
            return
        host = self._hosts.get(host_id) or self._new_host(host_id)
        self.reserve(host, container_of(after))

    def _drop(self, row: Record) -> None:
        self._generations[row["hostId"]] += 1
        self.release(row.id)
        unit = row["deploymentUnitUuid"]
        if unit:
            self._leave_waiting(unit, row.id)
            members = self._unit_members.get(unit)
            if members is not None:
                members.pop(row.id, None)
                if not members:
                    del self._unit_members[unit]
        network_of = row["networkContainerId"]
        if network_of is not None:
            self._dependants[network_of].discard(row.id)
            if not self._dependants[network_of]:
                del self._dependants[network_of]

    def _leave_waiting(self, unit: str, instance_id: int) -> None:
        members = self._waiting.get(unit)
        if members is not None:
            members.pop(instance_id, None)
            if not members:
                del self._waiting[unit]

    # Hosts

    def _new_host(self, host_id: int) -> Host:
        host = self._hosts[host_id] = Host(host_id)
        host.accepts = False
        return host

    def _host_changed(self, before: Record | None, after: Record | None) -> None:
        row = after or before
        if row is None:
            return
        host = self._hosts.get(row.id) or self._new_host(row.id)
        if before is not None and before["accountId"] is not None:
            self._environments[before["accountId"]].pop(row.id, None)
        if after is None:
            host.accepts = False
            if not host.containers:
                del self._hosts[row.id]
            return
        if after["accountId"] is not None:
            self._environments[after["accountId"]][row.id] = host
        host.uuid, host.name = after.uuid, after.name or str(after["hostname"] or after.id)
        host.describe(labels=after["labels"], memory=after["memory"], milli_cpu=after["milliCpu"])
        self._set_accepts(host, after)

    def _agent_changed(self, before: Record | None, after: Record | None) -> None:
        row = after or before
        if row is None or (before is not None and after is not None and before.state == after.state):
            return
        for record in self._host_rows.where(agentId=row.id):
            host = self._hosts.get(record.id)
            if host is not None:
                self._set_accepts(host, record)

    def _set_accepts(self, host: Host, record: Record) -> None:
        agent_id = record["agentId"]
        agent = self._agents.get(agent_id)
        connected = agent_id is None or (agent is not None and agent.state == "active")
        host.accepts = record.state in USABLE_HOST_STATES and connected
        if record.state not in USABLE_HOST_STATES:
            host.state = record.state
        elif not connected:
            host.state = f"its agent is {agent.state if agent is not None else 'removed'}"
        else:
            host.state = record.state


def _matters(before: Record, after: Record) -> bool:
    """Whether a change of the row changes what the container occupies or how others see it."""
    return (
        before["hostId"] != after["hostId"]
        or (before.state in PORT_STATES) != (after.state in PORT_STATES)
        or (before.state in BROKEN_STATES) != (after.state in BROKEN_STATES)
        or before.name != after.name
        or before["labels"] != after["labels"]
        or before["publishedPorts"] != after["publishedPorts"]
        or before["memoryReservation"] != after["memoryReservation"]
    )
