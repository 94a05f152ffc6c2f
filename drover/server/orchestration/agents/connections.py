"""Agents come and go by their connection; the channel says so on the bus, and a lost agent is welcomed back."""

from __future__ import annotations

import structlog

from drover.server.bus import Event
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.agents.ping import Pinger
from drover.server.orchestration.context import Context
from drover.server.orchestration.mirror import Mirror
from drover.server.store import StoreError

log = structlog.get_logger(__name__)

CONNECTED = "agent.connected"
DISCONNECTED = "agent.disconnected"
_LOST = frozenset({"disconnecting", "disconnected"})


class Connections:
    """Follows the connections of agents."""

    def __init__(self, context: Context, agents: Mirror, pinger: Pinger) -> None:
        self._context = context
        self._agents = agents
        self._pinger = pinger

    async def run(self) -> None:
        subscription = self._context.bus.subscribe([CONNECTED, DISCONNECTED], capacity=10_000)
        try:
            async for event in subscription:
                await self._take(event)
        finally:
            subscription.close()

    async def _take(self, event: Event) -> None:
        await self._agents.ready()
        agent = self._agents.get(int(event.resource_id or 0))
        if agent is None:
            return
        log.info(event.name, agent_id=agent.id, state=agent.state)
        if event.name != CONNECTED:
            return
        self._pinger.forget(agent.id)  # it may be another machine, or the same after a repair: hear its report anew
        if agent.state in _LOST:
            changes = self._context.store.changes()
            try:
                self._context.engine.schedule(changes, "agent.reconnect", agent)
                await self._context.store.commit(changes)
            except (ProcessConflict, StoreError) as error:
                log.info("agent.reconnect_not_started", agent_id=agent.id, reason=str(error))
        elif agent.state == "active":
            self._pinger.greet(agent)
