"""The reconcile loop: one per service, level-triggered, coalescing.

Whatever happens (a scale change, a container that died, a host that came back) only marks the service as dirty. A pass
looks at what is, takes the smallest set of steps, and ends; it never waits for a container. The commits that follow
mark the service again, until a pass finds nothing to do. Losing a trigger costs nothing: every active service is
looked at when the server starts.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from drover.server.orchestration.context import Context
from drover.server.orchestration.health.recreations import Recreations
from drover.server.orchestration.services.digest import BROKEN, Digest, Status
from drover.server.orchestration.services.hosts import HostsView
from drover.server.orchestration.services.journal import ERROR, TROUBLE, plan_entry
from drover.server.orchestration.services.loading import load_digest, load_spec, narrow
from drover.server.orchestration.services.planner import Steps, converged, plan
from drover.server.orchestration.services.repairs import Repairs
from drover.server.orchestration.services.scale_policy import Growth, next_scale
from drover.server.orchestration.services.spec import ACTIVE_STATES, ServiceSpec, parse_service
from drover.server.orchestration.services.steps import take
from drover.server.store import Condition as Where
from drover.server.store import Query, Record, StoreError, Touched

log = structlog.get_logger(__name__)

_WORKERS = 4
_FOLLOWED = frozenset({"instance", "serviceExposeMap", "deploymentUnit", "service"})
# A pass may use a seventh of the time at most: a large service waits longer between two looks.
_REST_FACTOR = 6.0
_LONGEST_REST = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands after a pass: everything as it should be, or what keeps it from that."""

    converged: bool
    problem: str | None = None
    units: int = 0


@dataclass(slots=True)
class _Service:
    """What the loop remembers of a service between passes."""

    digest: Digest
    repairs: Repairs
    standing: Standing = Standing(False)
    rest_until: float = 0.0
    growth: Growth = field(default_factory=Growth)


class Reconciler:
    """Runs the loops of all services of this server."""

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._recreations = Recreations(context.settings, clock)
        self._hosts = HostsView(context.store, self._hosts_changed)
        self._services: dict[int, _Service] = {}
        self._loading: dict[int, list[Touched]] = {}
        self._load_locks: dict[int, asyncio.Lock] = {}
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._dirty: set[int] = set()
        self._busy: set[int] = set()
        self._waiting: dict[int, list[asyncio.Future[Standing]]] = defaultdict(list)
        context.store.listen(self._hear)

    # Triggers

    def trigger(self, service_id: int) -> None:
        """Have a look at the service soon. Many triggers make one pass."""
        if service_id in self._dirty:
            return
        self._dirty.add(service_id)
        known = self._services.get(service_id)
        rest = 0.0 if known is None else known.rest_until - self._clock()
        if rest <= 0:
            self._queue.put_nowait(service_id)
        else:
            asyncio.get_running_loop().call_later(rest, self._queue.put_nowait, service_id)

    def digest(self, service_id: int) -> Digest | None:
        """The digest of a service that the loop has looked at, current as of the last commit."""
        known = self._services.get(service_id)
        return None if known is None else known.digest

    def serving_hosts(self, account_id: int) -> set[int]:
        """Hosts of an environment that may get containers now."""
        return {host.id for host in self._hosts.serving(account_id)}

    async def next_standing(self, service_id: int) -> Standing:
        """How the service stands after a pass that starts from now on."""
        future: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._waiting[service_id].append(future)
        self.trigger(service_id)
        return await future

    async def pass_ended(self, service_id: int, *, within: float = 5.0) -> Standing:
        """How the service stands after its next pass, whenever a change brings one; asks for one itself in the end."""
        future: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._waiting[service_id].append(future)
        try:
            return await asyncio.wait_for(future, within)
        except TimeoutError:
            return await self.next_standing(service_id)

    async def load(self, service_id: int) -> Digest | None:
        """The digest of any service, loaded if need be."""
        known = await self._service(service_id)
        return None if known is None else known.digest

    # Running

    async def run(self) -> None:
        """Work until cancelled."""
        await self._hosts.start()
        await self._look_at_all()
        async with asyncio.TaskGroup() as group:
            for number in range(_WORKERS):
                group.create_task(self._worker(), name=f"reconcile-{number}")

    async def _look_at_all(self) -> None:
        active = Query("service", (Where("state", "in", sorted(ACTIVE_STATES)), Where("removed", "null")))
        for record in await self._context.store.find(active):
            self.trigger(record.id)

    async def _worker(self) -> None:
        while True:
            service_id = await self._queue.get()
            if service_id in self._busy:
                asyncio.get_running_loop().call_later(0.01, self._queue.put_nowait, service_id)
                continue
            self._dirty.discard(service_id)
            self._busy.add(service_id)
            waiting = self._waiting.pop(service_id, [])
            try:
                _answer(waiting, await self._pass(service_id))
            except StoreError as lost:
                log.info("service.pass_lost_race", service_id=service_id, reason=str(lost))
                self._waiting[service_id].extend(waiting)
                self._trigger_later(service_id, 0.05)
            except Exception as error:
                log.exception("service.pass_failed", service_id=service_id)
                _answer(waiting, Standing(False, str(error) or type(error).__name__))
                self._trigger_later(service_id, 5.0)
            finally:
                self._busy.discard(service_id)

    async def _pass(self, service_id: int) -> Standing:
        started = self._clock()
        service = await self._service(service_id)
        if service is None or not service.digest.spec.active:
            return Standing(True)
        digest = service.digest
        spec = digest.spec
        for host_id in self._hosts.lost(spec.account_id) ^ digest.lost_hosts:
            digest.host_lost(host_id, lost=host_id not in digest.lost_hosts)
        held = service.repairs.held(started)
        failed = digest.count(Status.BROKEN) > 0
        problem = self._problem(service, spec)
        if problem is not None and not self._hosts.serving(spec.account_id):
            steps = Steps(waiting=True)
        else:
            hosts = self._hosts.for_global(spec) if spec.is_global else set()
            existing = self._hosts.existing(spec.account_id) if spec.is_global else None
            left = self._recreations_left(digest)
            steps = plan(spec, digest, hosts=hosts, existing=existing, held=held, recreations=left)
            self._recreations.take(spec.account_id, len(steps.recreate))
            self._count_repairs(service, steps, started)
            if steps.any:
                await take(self._context, spec, digest, steps)
        now = self._clock()
        service.rest_until = now + min(_LONGEST_REST, (now - started) * _REST_FACTOR)
        done = converged(spec, digest, steps)
        if await self._rescale(service, spec, done=done, failed=failed):
            done = False
        standing = Standing(done, problem, digest.staying())
        if done:
            await self._count(digest.spec, standing.units)
        if problem is not None and problem != service.standing.problem:
            await self._note(spec, problem)
        service.standing = standing
        if steps.more:
            self.trigger(service_id)
        elif held:
            self._trigger_later(service_id, max(0.02, min(held.values()) - now))
        if steps.postponed:
            self._trigger_later(service_id, self._recreations.wait(spec.account_id))
        return standing

    def _recreations_left(self, digest: Digest) -> int | None:
        """How many units may be replaced for their health now; None when there is nothing to limit."""
        if not digest.count(Status.UNHEALTHY):
            return None
        account_id = digest.spec.account_id
        known = (service.digest for service in self._services.values())
        units = sum(len(each.units) for each in known if each.spec.account_id == account_id)
        return self._recreations.allowed(account_id, units)

    async def _note(self, spec: ServiceSpec, problem: str) -> None:
        changes = self._context.store.changes()
        plan_entry(changes, spec, TROUBLE, problem, level=ERROR)
        await self._context.store.commit(changes)

    async def _count(self, spec: ServiceSpec, units: int) -> None:
        """Keep the shown number current: hosts come and go without a process of the service."""
        if spec.record.state == "active" and spec.record["currentScale"] != units:
            changes = self._context.store.changes()
            changes.update(spec.record, {"currentScale": units})
            await self._context.store.commit(changes)

    async def _rescale(self, service: _Service, spec: ServiceSpec, *, done: bool, failed: bool) -> bool:
        """Let a scale policy take its next step. True when the service is to become something else now."""
        scale = next_scale(spec, converged=done, failed=failed, may_grow=service.growth.worth_trying)
        if failed:
            service.growth.failed()
        if scale is None:
            return False
        if scale.desired > spec.scale:
            service.growth.begins()
        changes = self._context.store.changes()
        changes.update(spec.record, {"desiredScale": scale.desired, "lockedScale": scale.locked})
        await self._context.store.commit(changes)
        return scale.desired != spec.scale

    def _problem(self, service: _Service, spec: ServiceSpec) -> str | None:
        if spec.configs and not self._hosts.serving(spec.account_id):
            return "no host of the environment is active; add a host or activate one"
        broken = service.digest.by_status[Status.BROKEN]
        for unit in broken.values():
            for member in unit.living():
                if member.state in BROKEN:
                    text = member.record["transitioningMessage"] or "it ended in an error"
                    return f"{member.record.name}: {text}"
        return None if not service.repairs.held(self._clock()) else service.standing.problem

    def _count_repairs(self, service: _Service, steps: Steps, now: float) -> None:
        for member in (*steps.start, *steps.remove_members):
            unit = service.digest.unit_of(member.id)
            if unit is not None and int(member.record["startCount"] or 0) + int(member.state in BROKEN) > 0:
                service.repairs.attempted(unit.uuid, now)

    def _trigger_later(self, service_id: int, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.trigger, service_id)

    def _settle(self, service_id: int, standing: Standing) -> None:
        _answer(self._waiting.pop(service_id, []), standing)

    # Knowing

    async def _service(self, service_id: int) -> _Service | None:
        known = self._services.get(service_id)
        if known is not None:
            return known
        async with self._load_locks.setdefault(service_id, asyncio.Lock()):
            return self._services.get(service_id) or await self._load(service_id)

    async def _load(self, service_id: int) -> _Service | None:
        """Read a service; commits that happen meanwhile are followed up, so nothing is missed."""
        self._loading[service_id] = []
        try:
            spec = await load_spec(self._context.store, service_id)
            if spec is None:
                return None
            service = _Service(await load_digest(self._context.store, spec), Repairs())
            self._services[service_id] = service
        finally:
            missed = self._loading.pop(service_id)
        for row in missed:
            self._follow(service_id, row)
        return self._services.get(service_id)

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type in _FOLLOWED:
                service_id = _service_of(row)
                if service_id is not None:
                    self._notice(service_id, row)

    def _notice(self, service_id: int, row: Touched) -> None:
        loading = self._loading.get(service_id)
        if loading is not None:
            loading.append(row)
        elif service_id in self._services:
            self._follow(service_id, row)
        self.trigger(service_id)

    def _follow(self, service_id: int, row: Touched) -> None:
        service = self._services.get(service_id)
        if service is None or row.after is None:
            return
        digest = service.digest
        match row.type:
            case "instance":
                digest.see_instance(_with_message(row.after))
            case "serviceExposeMap":
                digest.see_exposure(row.after)
            case "deploymentUnit":
                digest.see_unit(row.after)
            case "service":
                self._service_changed(service, row.after)

    def _service_changed(self, service: _Service, record: Record) -> None:
        if record["removed"] or record.state in ("removed", "purged"):
            self._services.pop(record.id, None)
            self._load_locks.pop(record.id, None)
            self._settle(record.id, Standing(True))
            return
        old = service.digest.spec
        service.digest.use(parse_service(record, old.stack))
        if old.record.state != record.state or old.scale != service.digest.spec.scale:
            service.repairs.forget_all()
            if old.policy != service.digest.spec.policy:
                service.growth.reconsider()

    def _hosts_changed(self, account_id: int) -> None:
        for service_id, service in self._services.items():
            if service.digest.spec.account_id == account_id:
                service.repairs.forget_all()
                service.growth.reconsider()
                self.trigger(service_id)


def _service_of(row: Touched) -> int | None:
    record = row.after or row.before
    if record is None:
        return None
    if row.type == "service":
        return record.id
    value = record["serviceId"]
    return None if value is None else int(value)


def _with_message(record: Record) -> Record:
    """The narrow form, with the error text when there is one."""
    kept = narrow(record)
    if record.state in BROKEN:
        kept.values["transitioningMessage"] = record["transitioningMessage"]
    return kept


def _answer(waiting: list[asyncio.Future[Standing]], standing: Standing) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(standing)
