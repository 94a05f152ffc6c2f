"""Agents that exist only in this server: they listen on the bus like real ones and answer as the simulator says.

Every agent whose ``uri`` does not begin with ``event://`` is one of these, so an environment can be tried out, and
tools can be tested, without any machine.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from drover.server.bus import Bus, Event, NotAsked, Subscription
from drover.server.orchestration.agents.uris import is_simulated
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record
from drover.simulator.model import EVENTS, Overrides, SimulatedAgent

log = structlog.get_logger(__name__)

_LISTENING = frozenset(
    {"requested", "registering", "inactive", "activating", "active", "reconnecting", "reconnected", "disconnected"}
    | {"finishing-reconnect", "disconnecting", "updating-active", "updating-inactive"}
)
_CAPACITY = 100_000


class SimulatedAgents:
    """Keeps one simulated agent for each such row. State is lost with the process, as that of a rebooted host."""

    def __init__(self, bus: Bus, agents: Mirror) -> None:
        self._bus = bus
        self._agents = agents
        self._open: dict[int, tuple[Subscription, asyncio.Task[None]]] = {}
        self._models: dict[int, SimulatedAgent] = {}
        self._running = False

    def model(self, agent_id: int) -> SimulatedAgent:
        """The host behind an agent, for tests that want to look at it or pull its plug."""
        return self._models[agent_id]

    async def run(self) -> None:
        self._running = True
        self._agents.on_change(self._hear)
        await self._agents.ready()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            tasks = [task for _, task in self._open.values()]
            for subscription, _ in list(self._open.values()):
                subscription.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _hear(self, _before: Record | None, after: Record | None) -> None:
        if not self._running:
            return
        wanted = after is not None and is_simulated(str(after["uri"] or "")) and after.state in _LISTENING
        if wanted and after is not None and after.id not in self._open:
            self._start(after)
        gone = after if after is not None else _before
        if not wanted and gone is not None and gone.id in self._open:
            subscription, _ = self._open.pop(gone.id)
            subscription.close()
            self._models.pop(gone.id, None)

    def _start(self, agent: Record) -> None:
        overrides = Overrides.of(agent["data"])
        model = SimulatedAgent(overrides.external_id or agent.uuid, overrides)
        names = [f"{name};agent={agent.id}" for name in EVENTS]
        subscription = self._bus.subscribe(names, capacity=_CAPACITY)
        self._models[agent.id] = model
        task = asyncio.create_task(self._answer_all(agent.id, model, subscription), name=f"simulated:{agent.id}")
        self._open[agent.id] = (subscription, task)

    async def _answer_all(self, agent_id: int, model: SimulatedAgent, subscription: Subscription) -> None:
        while events := await subscription.get_batch():
            for event in events:
                self._answer(agent_id, model, event)

    def _answer(self, agent_id: int, model: SimulatedAgent, event: Event) -> None:
        name = event.name.partition(";")[0]
        answer = model.answer(name, event.data, now=time.time())
        if answer.silent or event.reply_to is None or not event.reply_to.startswith("reply."):
            return
        reply = Event(
            name=event.reply_to,
            data=answer.data,
            resource_type=event.resource_type,
            resource_id=event.resource_id,
            previous_ids=[event.id],
            transitioning="error" if answer.error else None,
            transitioning_message=answer.error,
        )
        try:
            self._bus.reply(reply, sender=f"agent:{agent_id}")
        except NotAsked as error:
            log.debug("simulated.late_reply", agent_id=agent_id, reason=str(error))
