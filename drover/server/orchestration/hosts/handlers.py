"""The life of a host after it was found: taken into service, relabelled, taken out, evacuated, removed."""

from __future__ import annotations

import asyncio

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import Again, Delegate, Done, Handlers, Outcome, Run
from drover.server.orchestration.agents.ping import Pinger
from drover.server.orchestration.context import Context
from drover.server.orchestration.hosts import labels as host_labels
from drover.server.orchestration.hosts.departure import Departure
from drover.server.orchestration.instances.plan import plan_stop_and_remove
from drover.server.orchestration.instances.usage import Usage
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.plain import follow
from drover.server.orchestration.removal import removed
from drover.server.store import Changes, Record, StoreError

log = structlog.get_logger(__name__)

_REMOVAL_WAIT = 30.0


class HostHandlers:
    """The handlers of ``host.*``."""

    def __init__(self, context: Context, agents: Mirror, usage: Usage, pinger: Pinger, departure: Departure) -> None:
        self._context = context
        self._agents = agents
        self._usage = usage
        self._pinger = pinger
        self._departure = departure

    def register(self, handlers: Handlers) -> None:
        handlers.register("host.create", self.create)
        handlers.register("host.activate", self.activate)
        handlers.register("host.update", self.update)
        handlers.register("host.deactivate", follow)  # nothing is sent: the host only gets no new containers
        handlers.register("host.remove", self.remove)

    async def create(self, run: Run) -> Outcome:
        return Delegate()

    async def activate(self, run: Run) -> Outcome:
        return Done()

    async def update(self, run: Run) -> Outcome:
        """Bring the label rows in step with the labels that were just written."""
        host = run.record
        changes = run.plan()
        labels = {str(key): str(value) for key, value in (host["labels"] or {}).items()}
        await host_labels.plan_rows(self._context.store, changes, host, labels, host["reportedLabels"] or {})
        return Done(changes=changes)

    async def remove(self, run: Run) -> Outcome:
        """Let every container go, then what they left on the machine, then the rows of the host, its agent last.

        Containers of users go first: their network works until they end. What the system's own programs did on the
        machine is taken back when none of them runs any more that could do it again. Containers that somebody else
        made (a server that runs on its own host is one of them) stay as they are, and are forgotten.
        """
        await self._usage.ready()
        for system in (False, True):
            left = await self._clear(run.record, system=system, natives=False, timeout=_REMOVAL_WAIT)
            if left:
                return Again(1.0, f"Waiting for {left} containers to be removed")
        repeat = await self._departure.clean_up(run)
        if repeat is not None:
            return repeat
        changes = run.plan()
        await self._plan_children(changes, run.record)
        await self._plan_agent(changes, run.record)
        changes.release_all(run.record)
        if run.record["agentId"] is not None:
            self._pinger.forget(int(run.record["agentId"]))
        return Done({**removed(self._context.settings, "host"), "removeAfter": None}, changes)

    async def evacuate(self, host: Record) -> int:
        """Remove all containers of a host but the system's own; returns how many are still there after a while."""
        await self._usage.ready()
        return await self._clear(host, system=False, natives=True, timeout=_REMOVAL_WAIT)

    async def _clear(self, host: Record, *, system: bool, natives: bool, timeout: float) -> int:
        ids = self._usage.on_host(host.id)
        found = (await self._context.store.get_many("instance", ids)).values() if ids else ()
        going: list[Record] = []
        for instance in found:
            if bool(instance["system"]) is not system or (instance["nativeContainer"] and not natives):
                continue
            going.append(instance)
            changes = self._context.store.changes()
            plan_stop_and_remove(self._context, changes, instance)
            try:
                await self._context.store.commit(changes)
            except StoreError as moved:
                log.debug("host.container_moved_on", instance_id=instance.id, reason=str(moved))
        results = await asyncio.gather(*(self._gone(each, timeout) for each in going))
        return results.count(False)

    async def _gone(self, instance: Record, timeout: float) -> bool:
        try:
            await self._context.watch.until(
                "instance", instance.id, lambda row: row is None or row["removed"] is not None, timeout=timeout
            )
        except TimeoutError:
            return False
        return True

    async def _plan_children(self, changes: Changes, host: Record) -> None:
        gone = removed(self._context.settings, "host")
        store = self._context.store
        for pool in await store.find_by("storagePool", hostId=host.id, removed=None):
            changes.update(pool, {**gone, "state": "removed"})
        for address in await store.find_by("ipAddress", hostId=host.id, removed=None):
            changes.update(address, {**gone, "state": "removed"})
        for label in await store.find_by("label", accountId=host["accountId"], type="host", removed=None):
            if label["hostId"] == host.id:
                changes.update(label, {**gone, "state": "removed"})
        for volume in await store.find_by("volume", hostId=host.id, removed=None):
            changes.update(volume, {**gone, "state": "removed"})
        forgotten = removed(self._context.settings, "instance")
        for native in await store.find_by("instance", hostId=host.id, nativeContainer=True, removed=None):
            changes.update(native, {**forgotten, "state": "removed", "allocationState": "inactive"})
            changes.release_all(native)
        machine = await store.get("physicalHost", int(host["physicalHostId"])) if host["physicalHostId"] else None
        others = await store.find_by("host", physicalHostId=host["physicalHostId"], removed=None) if machine else []
        if machine is not None and machine["removed"] is None and all(each.id == host.id for each in others):
            self._plan_machine(changes, machine)

    def _plan_machine(self, changes: Changes, machine: Record) -> None:
        """A machine that we made is destroyed by its process; one that somebody registered is only forgotten."""
        if machine.kind == "machine" and self._context.engine.can_schedule("physicalhost.remove", machine):
            self._context.engine.schedule(changes, "physicalhost.remove", machine)
        else:
            changes.update(machine, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})

    async def _plan_agent(self, changes: Changes, host: Record) -> None:
        await self._agents.ready()
        agent = self._agents.get(host["agentId"])
        if agent is None:
            return
        siblings = await self._context.store.find_by("host", agentId=agent.id, removed=None)
        if any(each.id != host.id for each in siblings):
            return
        for process in ("agent.remove", "agent.deactivate"):
            if self._context.engine.can_schedule(process, agent):
                self._context.engine.schedule(changes, process, agent, {"chainTo": "agent.remove"})
                return
