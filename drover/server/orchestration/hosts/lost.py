"""Hosts that never came back: removed after the delay that their environment, or the server, allows them.

The same holds for agents that are lost and have no host: nobody else would ever look at them.
"""

from __future__ import annotations

import time

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record, StoreError

log = structlog.get_logger(__name__)


class LostHosts:
    """Looks for hosts whose ``removeAfter`` has passed while their agent was away."""

    def __init__(self, context: Context, hosts: Mirror, agents: Mirror) -> None:
        self._context = context
        self._hosts = hosts
        self._agents = agents
        self._started = time.monotonic()

    async def run_once(self) -> None:
        """Nothing happens in the first minutes of a server: its agents must get a chance to reconnect."""
        if time.monotonic() - self._started < seconds(self._context.settings, "host.remove.delay.startup.seconds"):
            return
        await self._hosts.ready()
        now = now_ms()
        for host in list(self._hosts):
            due = host["removeAfter"]
            if host["agentState"] == "disconnected" and due is not None and due <= now:
                await self._remove(host)
        await self._remove_agents(now)

    async def _remove_agents(self, now: int) -> None:
        await self._agents.ready()
        delay = seconds(self._context.settings, "host.remove.delay.seconds")
        if delay < 0:
            return
        with_host = {host["agentId"] for host in self._hosts}
        for agent in list(self._agents.where(state="disconnected")):
            lost_at = int(agent["disconnectedAt"] or now)
            if agent.id in with_host or lost_at + delay * 1000 > now:
                continue
            changes = self._context.store.changes()
            try:
                self._context.engine.schedule(changes, "agent.remove", agent)
                await self._context.store.commit(changes)
            except (ProcessConflict, StoreError) as busy:
                log.info("agent.lost_not_removed", agent_id=agent.id, reason=str(busy))

    async def _remove(self, host: Record) -> None:
        changes = self._context.store.changes()
        try:
            if self._context.engine.can_schedule("host.remove", host):
                self._context.engine.schedule(changes, "host.remove", host)
            else:
                self._context.engine.schedule(changes, "host.deactivate", host, {"chainTo": "host.remove"})
            await self._context.store.commit(changes)
            log.info("host.lost_removed", host_id=host.id)
        except (ProcessConflict, StoreError) as busy:
            log.info("host.lost_not_removed", host_id=host.id, reason=str(busy))
