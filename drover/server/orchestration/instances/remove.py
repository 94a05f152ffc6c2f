"""Removing a container with everything that existed for it alone."""

from __future__ import annotations

import structlog

from drover.common.clock import now_ms
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Done, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.payload import brief_map
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.removal import removed
from drover.server.orchestration.retry import later
from drover.server.orchestration.volumes.cleanup import VolumeCleanup
from drover.server.store import Changes, Record

log = structlog.get_logger(__name__)


class Remove:
    """The handler of ``instance.remove``. A host that is gone or not connected never holds it up."""

    def __init__(self, context: Context, channel: AgentChannel, hosts: Mirror, volumes: VolumeCleanup) -> None:
        self._context = context
        self._channel = channel
        self._hosts = hosts
        self._volumes = volumes

    def register(self, handlers: Handlers) -> None:
        handlers.register("instance.remove", self)

    async def __call__(self, run: Run) -> Outcome:
        instance = run.record
        try:
            await self._tell(run)
        except (NoAnswer, Refused) as error:
            return later(run, self._context.settings, str(error))
        changes = run.plan()
        await self._plan_children(changes, instance)
        await self._volumes.plan(changes, instance)
        if instance["agentId"] is not None:
            await self._plan_agent(changes, int(instance["agentId"]))
        changes.release_all(instance)
        return Done({**removed(self._context.settings, "instance"), "allocationState": "inactive"}, changes)

    async def _tell(self, run: Run) -> None:
        """Have the agent delete it, if it ever got to a host that can be asked."""
        instance = run.record
        await self._hosts.ready()
        host = self._hosts.get(instance["hostId"])
        if host is None or not await self._channel.is_reachable(host["agentId"]):
            return
        try:
            await self._channel.call(
                int(host["agentId"]),
                "compute.instance.remove",
                resource_type="instanceHostMap",
                resource_id=instance.id,
                data=brief_map(instance, host_id=host.id),
                context={"processId": run.process_record.id},
            )
        except AgentGone:
            log.debug("instance.remove_without_agent", instance_id=instance.id)

    async def _plan_children(self, changes: Changes, instance: Record) -> None:
        """Its address, ports and links. Only what the row says it has is looked for."""
        gone = {"state": "removed", "removed": now_ms(), "removeTime": now_ms()}
        if instance["ipAddressId"] is not None:
            changes.update(Record("ipAddress", int(instance["ipAddressId"]), {}), gone)
        if instance["publishedPorts"] or instance["ports"]:
            for row in await self._context.store.find_by("port", instanceId=instance.id, removed=None):
                changes.update(row, gone)
        if instance["instanceLinks"]:
            for row in await self._context.store.find_by("instanceLink", instanceId=instance.id, removed=None):
                changes.update(row, gone)

    async def _plan_agent(self, changes: Changes, agent_id: int) -> None:
        """The agent of the container goes with it, by its own processes."""
        agent = await self._context.store.get("agent", agent_id)
        if agent is None or agent["removed"] is not None:
            return
        for process in ("agent.remove", "agent.deactivate"):
            if self._context.engine.can_schedule(process, agent):
                try:
                    self._context.engine.schedule(changes, process, agent, {"chainTo": "agent.remove"})
                except ProcessConflict as busy:
                    log.info("agent.remove_postponed", agent_id=agent_id, reason=str(busy))
                return
