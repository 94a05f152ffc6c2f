"""Schedulers that run in the environments and have a say in placement.

A scheduler is a running, healthy container with an agent and the label
``io.rancher.container.agent_service.scheduling``; its value, a number, orders several of them. Each is asked which
hosts it would take (`scheduler.prioritize`), told what is placed (`scheduler.reserve`, where it may refuse or give
addresses to ports), and told what has ended (`scheduler.release`), in the words of Rancher 1.6.

A scheduler that does not answer never stops an environment: placement goes on with the server's own judgement, which
is the same, the log says so, and the silent one is left alone for a while. What it refuses is refused.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog

from drover.client.scheduling import (
    ALLOCATE,
    AMOUNT_POOL,
    CPU,
    DEALLOCATE,
    INSTANCES,
    MEMORY,
    PORT_POOL,
    PORTS,
    PRIORITIZE,
    RELEASE,
    RESERVE,
    SCHEDULING_LABEL,
    START,
    STOP,
    Answer,
    PortRequest,
    ResourceRequest,
    SchedulerRequest,
    Subject,
)
from drover.placement import HostPort
from drover.server.bus import Bus, NoAnswer, Refused
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.instances.errors import StartFailed
from drover.server.orchestration.instances.labels import labels_of
from drover.server.orchestration.instances.usage import PORT_STATES, Usage, container_of
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Condition, Query, Record, Store, Touched

ANSWER_SECONDS = 5.0
SILENT_SECONDS = 30.0
_MOST_RELEASES = 10_000
_HEALTHY = frozenset({None, "", "healthy", "updating-healthy"})

log = structlog.get_logger(__name__)


class ExternalSchedulers:
    """Asked by the allocator; ``run`` tells them what ended."""

    def __init__(self, store: Store, bus: Bus, channel: AgentChannel, hosts: Mirror, usage: Usage) -> None:
        self._store = store
        self._bus = bus
        self._channel = channel
        self._hosts = hosts
        self._usage = usage
        self._providers: dict[int, dict[int, Record]] = defaultdict(dict)
        self._silent_until: dict[int, float] = {}
        self._complained: dict[int, float] = {}
        self._releases: asyncio.Queue[tuple[Record, str]] = asyncio.Queue(_MOST_RELEASES)
        self._heard: set[int] = set()
        self._loaded = False
        self._loading = asyncio.Lock()
        store.listen(self._hear)

    # Questions

    async def prioritize(self, environment_id: int, members: Sequence[Record]) -> list[str] | None:
        """The uuids of the hosts to try, best first; None when nobody is there to be asked. Raises StartFailed."""
        await self._ready()
        agreed: list[str] | None = None
        for provider in self._asked(environment_id, members):
            request = _request(members, phase=ALLOCATE)
            answer = await self._ask(provider, PRIORITIZE, request, members[0], "getting hosts for resources")
            if answer is None or answer.prioritized_candidates is None:
                continue
            hosts = answer.prioritized_candidates
            agreed = list(hosts) if agreed is None else [each for each in agreed if each in hosts]
        return agreed

    async def reserve(
        self, environment_id: int, host_uuid: str, members: Sequence[Record], *, restart: bool, force: bool
    ) -> dict[int, tuple[HostPort, ...]]:
        """Tell of a placement. Returns the ports of containers that got others than they asked for. Raises
        StartFailed when a scheduler refuses.
        """
        await self._ready()
        given: dict[int, tuple[HostPort, ...]] = {}
        phase = START if restart else ALLOCATE
        for provider in self._asked(environment_id, members):
            request = _request(members, phase=phase, host=host_uuid, force=force)
            answer = await self._ask(provider, RESERVE, request, members[0], "reserving resources")
            for each in (answer and answer.port_reservation) or ():
                ports = (
                    HostPort(p.allocated_ip, p.public_port, p.private_port, p.protocol) for p in each.allocated_ips
                )
                if each.instance_id.isdecimal():
                    given[int(each.instance_id)] = tuple(ports)
        return given

    async def run(self) -> None:
        """Tell the schedulers what stopped and what was removed."""
        while True:
            instance, phase = await self._releases.get()
            host = self._hosts.get(instance["hostId"])
            for provider in self._asked(int(instance["accountId"]), [instance]):
                request = _request([instance], phase=phase, host=None if host is None else host.uuid)
                try:
                    await self._ask(provider, RELEASE, request, instance, "releasing resources")
                except StartFailed as error:
                    log.warning("scheduler.release_refused", instance_id=instance.id, reason=str(error))

    async def _ask(
        self, provider: Record, name: str, request: SchedulerRequest, instance: Record, doing: str
    ) -> Answer | None:
        """None when there is no answer to be had."""
        agent_id = int(provider["agentId"])
        try:
            data = await self._channel.call(
                agent_id,
                name,
                resource_type="instance",
                resource_id=instance.id,
                data={"schedulerRequest": msgspec.to_builtins(request)},
                timeout=ANSWER_SECONDS,
            )
            return msgspec.convert(data, Answer, strict=False)
        except Refused as error:
            raise StartFailed(f"Allocation failed: Error {doing}: [{error}]") from error
        except (NoAnswer, AgentGone, msgspec.ValidationError) as error:
            self._leave_alone(provider, str(error))
            return None

    # Who is asked

    def _asked(self, environment_id: int, members: Sequence[Record]) -> list[Record]:
        """The schedulers of the environment in their order; none has a say about itself or its own unit."""
        providers = self._providers.get(environment_id)
        if not providers:
            return []
        own = {each.id for each in members}
        now = asyncio.get_running_loop().time()
        return sorted(
            (
                each
                for each in providers.values()
                if each.id not in own and now >= self._silent_until.get(each.id, 0.0) and self._listens(each)
            ),
            key=lambda each: (_order(each), each.id),
        )

    def _listens(self, provider: Record) -> bool:
        host = self._usage.host(provider["hostId"]) if provider["hostId"] is not None else None
        if host is None or not host.accepts:
            return False
        if self._bus.has_subscriber(f"{PRIORITIZE};agent={provider['agentId']}"):
            return True
        self._complain(provider, "it is not connected to the server")
        return False

    def _leave_alone(self, provider: Record, reason: str) -> None:
        self._silent_until[provider.id] = asyncio.get_running_loop().time() + SILENT_SECONDS
        self._complain(provider, reason)

    def _complain(self, provider: Record, reason: str) -> None:
        """At most once in a while: many containers may start meanwhile."""
        now = asyncio.get_running_loop().time()
        if now < self._complained.get(provider.id, 0.0) + SILENT_SECONDS:
            return
        self._complained[provider.id] = now
        log.warning(
            "scheduler.silent",
            instance_id=provider.id,
            environment_id=provider["accountId"],
            reason=reason,
            advice="the server places containers by itself meanwhile; look at the logs of the scheduler service",
        )

    async def _ready(self) -> None:
        """Find the schedulers that run, once."""
        if not self._loaded:
            async with self._loading:
                await self._load()

    async def _load(self) -> None:
        if self._loaded:
            return
        query = Query("instance", (Condition("removed", "null"), Condition("agentId", "notnull")))
        for record in await self._store.find(query):
            if record.id not in self._heard:  # a commit that was heard meanwhile is newer
                self._take_over(record)
        self._heard.clear()
        self._loaded = True

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            after = row.after
            if row.type != "instance" or after is None:
                continue
            if after["agentId"] is not None:
                if not self._loaded:
                    self._heard.add(row.id)
                self._take_over(after)
            phase = _ended(row.before, after)
            if phase is not None and self._providers.get(after["accountId"]) and not self._releases.full():
                self._releases.put_nowait((row.before or after, phase))

    def _take_over(self, record: Record) -> None:
        environment_id = int(record["accountId"] or 0)
        providers = self._providers[environment_id]
        if _provides(record):
            if record.id not in providers:
                self._silent_until.pop(record.id, None)
            providers[record.id] = record
        else:
            providers.pop(record.id, None)
            self._silent_until.pop(record.id, None)
            self._complained.pop(record.id, None)
            if not providers:
                del self._providers[environment_id]


def _provides(record: Record) -> bool:
    return (
        record["removed"] is None
        and record.state == "running"
        and record["healthState"] in _HEALTHY
        and SCHEDULING_LABEL in labels_of({"labels": record["labels"]})
    )


def _order(provider: Record) -> int:
    value = str(labels_of({"labels": provider["labels"]}).get(SCHEDULING_LABEL, "")).strip()
    return int(value) if value.lstrip("-").isdecimal() else 0


def _ended(before: Record | None, after: Record) -> str | None:
    """What a change of a container frees: all it has, or its ports."""
    if before is None or before["hostId"] is None:
        return None
    if after["removed"] is not None and before["removed"] is None:
        return DEALLOCATE
    return STOP if before.state in PORT_STATES and after.state == "stopped" else None


def _request(
    members: Sequence[Record], *, phase: str, host: str | None = None, force: bool = False
) -> SchedulerRequest:
    whole = phase in (ALLOCATE, DEALLOCATE)
    requests = [each for member in members for each in _resources(member, amounts=whole)]
    context = tuple(_subject(each) for each in members) if whole else ()
    return SchedulerRequest(phase=phase, resource_requests=tuple(requests), context=context, host_id=host, force=force)


def _resources(member: Record, *, amounts: bool) -> Iterable[ResourceRequest]:
    container = container_of(member)
    if amounts:
        if container.memory:
            yield ResourceRequest(MEMORY, AMOUNT_POOL, amount=container.memory)
        if container.milli_cpu:
            yield ResourceRequest(CPU, AMOUNT_POOL, amount=container.milli_cpu)
        yield ResourceRequest(INSTANCES, AMOUNT_POOL, amount=1)
    ports = tuple(
        PortRequest(private_port=each.private, public_port=each.public, ip_address=each.address, protocol=each.protocol)
        for each in container.ports
        if each.public
    )
    if ports or not amounts:
        yield ResourceRequest(
            PORTS, PORT_POOL, instance_id=str(member.id), resource_uuid=member.uuid, port_requests=ports
        )


def _subject(member: Record) -> Subject:
    labels: Mapping[str, str] = labels_of({"labels": member["labels"]})
    return Subject(id=member.id, uuid=member.uuid, data={"fields": {"labels": dict(labels)}})
