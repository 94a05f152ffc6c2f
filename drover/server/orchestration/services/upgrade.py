"""In-service upgrade, rollback and rolling restart: a few units at a time, each step visible in stored rows.

The new launch configs are on the service from the first moment, so the reconcile loop already knows what a complete
unit looks like. An upgrade only decides *when* an old container stops counting: it marks the containers of the next
few units (``upgrade`` set, ``managed`` cleared), and the loop fills the gap with the new version in the same unit.
Nothing is remembered outside the rows, so an interrupted upgrade goes on wherever it was.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drover.server.lifecycle import Done, Handlers, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.digest import GONE, STARTED, STOPPED, Digest, Member, Unit
from drover.server.orchestration.services.reconciler import Reconciler
from drover.server.orchestration.services.spec import NO_IMAGE, ServiceSpec
from drover.server.orchestration.services.steps import plan_member_removal
from drover.server.store import Record, StoreError

_STOP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast: ``batch`` units at a time, ``interval`` seconds between batches."""

    batch: int
    interval: float
    start_first: bool

    @classmethod
    def of(cls, strategy: Mapping[str, Any]) -> Pace:
        return cls(
            batch=max(1, int(strategy.get("batchSize") or 1)),
            interval=int(strategy.get("intervalMillis") or 2000) / 1000,
            start_first=bool(strategy.get("startFirst")),
        )


def prepare_upgrade(service: Record, strategy: Mapping[str, Any]) -> dict[str, Any]:
    """The values to store before the process ``service.upgrade`` starts.

    ``strategy`` is the ``inServiceStrategy`` of the request. Configs that take volumes or network from a changed one
    are upgraded with it; one with the image ``rancher/none`` is dropped. Source: Rancher 1.6.
    """
    primary = dict(strategy.get("launchConfig") or {})
    given = {str(each["name"]): dict(each) for each in strategy.get("secondaryLaunchConfigs") or []}
    old_primary: dict[str, Any] = dict(service["launchConfig"] or {})
    old_sidekicks: list[dict[str, Any]] = [dict(each) for each in service["secondaryLaunchConfigs"] or []]
    changed = _with_dependants(service, bool(primary), set(given), old_primary, old_sidekicks)
    version = str(uuid.uuid4())
    new_primary = primary or old_primary
    if str(service.name or "").lower() in changed:
        new_primary = {**_keep_public_ports(old_primary, new_primary), "version": version}
    known = {str(each["name"]): each for each in old_sidekicks}
    sidekicks = []
    for name in [*known, *(each for each in given if each not in known)]:
        config = given.get(name) or known[name]
        if str(config.get("imageUuid") or "").removeprefix("docker:") == NO_IMAGE:
            continue
        if name.lower() in changed:
            config = {**_keep_public_ports(known.get(name, {}), config), "version": version}
        sidekicks.append(config)
    return {
        "launchConfig": new_primary,
        "secondaryLaunchConfigs": sidekicks,
        "upgrade": {
            "inServiceStrategy": {
                **strategy,
                "previousLaunchConfig": old_primary,
                "previousSecondaryLaunchConfigs": old_sidekicks,
            }
        },
    }


def prepare_rollback(service: Record) -> dict[str, Any]:
    """The values to store before ``service.rollback`` starts: the launch configs of before the upgrade."""
    strategy = (service["upgrade"] or {}).get("inServiceStrategy") or {}
    if "previousLaunchConfig" not in strategy:
        return {}
    return {
        "launchConfig": strategy["previousLaunchConfig"],
        "secondaryLaunchConfigs": strategy.get("previousSecondaryLaunchConfigs") or [],
    }


def _with_dependants(
    service: Record, primary: bool, sidekicks: set[str], old: Mapping[str, Any], others: Iterable[Mapping[str, Any]]
) -> set[str]:
    """Lower-cased names of the configs to upgrade, the primary under the service's own name."""
    own = str(service.name or "").lower()
    changed = {name.lower() for name in sidekicks} | ({own} if primary else set())
    configs = {own: old, **{str(each["name"]).lower(): each for each in others}}
    while True:
        more = {name for name, each in configs.items() if name not in changed and _uses(each) & changed}
        if not more:
            return changed
        changed |= more


def _uses(config: Mapping[str, Any]) -> set[str]:
    names = {str(name).lower() for name in config.get("dataVolumesFromLaunchConfigs") or []}
    network = config.get("networkLaunchConfig")
    return names | ({str(network).lower()} if network else set())


def _keep_public_ports(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A random public port, once given, stays: ``80/tcp`` in the new config becomes what the old one had."""
    known = {}
    for text in old.get("ports") or []:
        public, _, private = str(text).rpartition(":")
        if public and public.isdigit():
            known[private.removesuffix("/tcp")] = str(text)
    ports = [known.get(str(each).removesuffix("/tcp"), each) for each in new.get("ports") or []]
    return {**new, **({"ports": ports} if new.get("ports") else {})}


class UpgradeHandlers:
    """The processes that replace or restart the containers of a running service."""

    def __init__(self, context: Context, reconciler: Reconciler) -> None:
        self._context = context
        self._reconciler = reconciler

    def register(self, handlers: Handlers) -> None:
        handlers.register("service.upgrade", self.upgrade)
        handlers.register("service.continueupgrade", self.upgrade)
        handlers.register("service.finishupgrade", self.finish)
        handlers.register("service.rollback", self.rollback)
        handlers.register("service.restart", self.restart)

    async def upgrade(self, run: Run) -> Done:
        await self._replace_outdated(run)
        return Done()

    async def finish(self, run: Run) -> Done:
        digest = await self._replace_outdated(run)
        await self._remove(member for member in digest.members() if member.upgrade)
        await self._settled(run)
        return Done()

    async def rollback(self, run: Run) -> Done:
        """Bring the old containers back, which are still there, stopped; then remove the new ones."""
        pace = Pace.of(_strategy(run.record))
        while True:
            digest = await self._digest(run)
            units = outdated(digest)[: pace.batch]
            if not units:
                break
            for unit in units:
                await self._swap_back(digest.spec, unit)
            await self._settled(run)
            await self._remove(member for unit in units for member in unit.members.values() if member.upgrade)
        await self._settled(run)
        return Done({"upgrade": None})

    async def restart(self, run: Run) -> Done:
        strategy = (run.record["restart"] or {}).get("rollingRestartStrategy") or {}
        pace = Pace.of(strategy)
        counts = {int(key): int(value) for key, value in (strategy.get("instanceToStartCount") or {}).items()}
        while True:
            digest = await self._settled(run)
            due = [m for m in digest.members() if counts.get(m.id) == int(m.record["startCount"] or 0)]
            uuids = list(dict.fromkeys(u.uuid for m in due if (u := digest.unit_of(m.id)) is not None))[: pace.batch]
            if not uuids:
                return Done()
            await self._stop([m for uuid_ in uuids for m in digest.units[uuid_].living()])
            await self._settled(run)
            await asyncio.sleep(pace.interval)

    async def _replace_outdated(self, run: Run) -> Digest:
        pace = Pace.of(_strategy(run.record))
        while True:
            digest = await self._settled(run)
            units = outdated(digest)[: pace.batch]
            if not units:
                return digest
            await run.progress(f"Upgrading {len(units)} of {len(outdated(digest))} units left")
            old = [member for unit in units for member in _old_members(digest.spec, unit)]
            await self._mark(old)
            if not pace.start_first:
                await self._stop(old)
            digest = await self._settled(run)
            if pace.start_first:
                await self._stop(old)
            if outdated(digest):
                await asyncio.sleep(pace.interval)

    async def _digest(self, run: Run) -> Digest:
        digest = await self._reconciler.load(run.record.id)
        if digest is None:
            raise RuntimeError(f"service {run.record.id} has no stack any more")
        return digest

    async def _settled(self, run: Run) -> Digest:
        """Wait until the loop is done and every member is healthy. A container without a check counts as healthy."""
        digest = await self._digest(run)
        standing = await self._reconciler.next_standing(run.record.id)
        while not (standing.converged and all(m.healthy for u in digest.units.values() for m in u.living())):
            if standing.problem is not None:
                await run.progress(standing.problem)
            standing = await self._reconciler.pass_ended(run.record.id)
        return digest

    async def _mark(self, members: list[Member]) -> None:
        changes = self._context.store.changes()
        for member in members:
            if member.expose_id is not None:
                exposure = Record("serviceExposeMap", member.expose_id, {})
                changes.update(exposure, {"upgrade": True, "managed": False})
        await self._context.store.commit(changes)

    async def _stop(self, members: list[Member]) -> None:
        for member in members:
            if member.state in STARTED:
                changes = self._context.store.changes()
                try:
                    self._context.engine.schedule(changes, "instance.stop", member.record)
                    await self._context.store.commit(changes)
                except (ProcessConflict, StoreError):
                    continue  # it stopped, or leaves, by itself
        async with asyncio.TaskGroup() as group:
            for member in members:
                group.create_task(self._until_stopped(member))

    async def _until_stopped(self, member: Member) -> None:
        await self._context.watch.until(
            "instance",
            member.id,
            lambda record: record is None or record.state in STOPPED or record.state in GONE or record.state == "error",
            timeout=_STOP_SECONDS,
        )

    async def _swap_back(self, spec: ServiceSpec, unit: Unit) -> None:
        changes = self._context.store.changes()
        wanted = {config.name: config.version for config in spec.configs}
        for member in unit.members.values():
            if member.expose_id is None or member.state in GONE:
                continue
            exposure = Record("serviceExposeMap", member.expose_id, {})
            old = wanted.get(member.config) == member.version
            if old and member.upgrade:
                changes.update(exposure, {"upgrade": False, "managed": True})
            elif not old and not member.upgrade:
                changes.update(exposure, {"upgrade": True, "managed": False})
        await self._context.store.commit(changes)
        await self._stop([m for m in unit.members.values() if wanted.get(m.config) != m.version])

    async def _remove(self, members: Iterable[Member]) -> None:
        for member in list(members):
            changes = self._context.store.changes()
            plan_member_removal(self._context, changes, member)
            try:
                await self._context.store.commit(changes)
            except StoreError:
                await asyncio.sleep(0.05)
                fresh = await self._context.store.get("instance", member.id)
                if fresh is not None and fresh.state not in GONE:
                    member.record = fresh
                    retry = self._context.store.changes()
                    plan_member_removal(self._context, retry, member)
                    await self._context.store.commit(retry)


def outdated(digest: Digest) -> list[Unit]:
    """Units with a member that is not of the version its launch config asks for, eldest first."""
    units = [unit for unit in digest.units.values() if unit.record is not None and _old_members(digest.spec, unit)]
    return sorted(units, key=lambda unit: unit.create_index)


def _old_members(spec: ServiceSpec, unit: Unit) -> list[Member]:
    wanted = {config.name: config.version for config in spec.configs}
    return [member for member in unit.living() if wanted.get(member.config) != member.version]


def _strategy(service: Record) -> Mapping[str, Any]:
    strategy: Mapping[str, Any] = (service["upgrade"] or {}).get("inServiceStrategy") or {}
    return strategy
