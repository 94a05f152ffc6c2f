"""Asking agents: one call, one answer, or an error that says why there is none."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from drover.server.bus import Bus, Event, NoAnswer
from drover.server.bus.bus import Progress
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.settings import Settings
from drover.server.store import Record

CALLABLE_STATES = frozenset({"activating", "active", "reconnecting"})
UNREACHABLE_STATES = frozenset({"reconnecting", "disconnecting", "disconnected"})
_GIVEN_UP = frozenset({"disconnected", "inactive", "removing", "removed"})


class AgentGone(Exception):
    """The agent is removed: nobody can be asked any more. Clean-up takes this as success."""


class AgentChannel:
    """Sends commands to agents and waits for the replies, which only the asked agent may give."""

    def __init__(self, bus: Bus, agents: Mirror, settings: Settings) -> None:
        self._bus = bus
        self._agents = agents
        self._settings = settings
        self._open: dict[int, set[asyncio.Timeout]] = defaultdict(set)
        agents.on_change(self._agent_changed)

    async def call(
        self,
        agent_id: int,
        name: str,
        *,
        resource_type: str | None = None,
        resource_id: int | None = None,
        data: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_progress: Progress | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The data of the answer. ``timeout`` in seconds, ``eventing.timeout.millis`` by default; progress extends it.

        Raises AgentGone for a removed agent, NoAnswer when it is not connected or does not answer in time, Refused
        with the agent's own text.
        """
        agent = await self._agent(agent_id)
        if agent.state not in CALLABLE_STATES:
            raise NoAnswer(f"agent {agent_id} is {agent.state}; {name} can be sent once its host is connected again")
        event = Event(
            name=f"{name};agent={agent_id}",
            resource_type=resource_type,
            resource_id=None if resource_id is None else str(resource_id),
            data=dict(data or {}),
            context=dict(context) if context else None,
        )
        wait = seconds(self._settings, "eventing.timeout.millis") if timeout is None else timeout
        asked = f"agent:{agent_id}"
        scope = asyncio.timeout(None)
        self._open[agent_id].add(scope)
        try:
            async with scope:
                answer = await self._bus.request(event, timeout=wait, asked=asked, on_progress=on_progress)
        except TimeoutError:
            raise NoAnswer(f"agent {agent_id} was lost before it answered {name}") from None
        finally:
            self._open[agent_id].discard(scope)
        return answer.data if isinstance(answer.data, dict) else {}

    async def tell(self, agent_id: int, name: str, data: Mapping[str, Any]) -> None:
        """Send a command that has no answer. Nothing happens if nobody listens: the next ping repairs it."""
        await self._agent(agent_id)
        self._bus.publish(Event(name=f"{name};agent={agent_id}", reply_to=f"{name}.reply", data=dict(data)))

    async def is_reachable(self, agent_id: int | None) -> bool:
        """Whether commands make sense: the agent exists, and its connection is not known to be lost."""
        await self._agents.ready()
        agent = self._agents.get(agent_id)
        return agent is not None and agent.state in CALLABLE_STATES and agent.state not in UNREACHABLE_STATES

    def lacks(self, agent_id: int, name: str) -> bool:
        """Whether the agent is connected and does not know a command: it subscribes to all that it understands."""
        return self._bus.has_subscriber(f"ping;agent={agent_id}") and not self._bus.has_subscriber(
            f"{name};agent={agent_id}"
        )

    async def _agent(self, agent_id: int) -> Record:
        await self._agents.ready()
        agent = self._agents.get(agent_id)
        if agent is None or agent.state in ("removing", "removed", "purging", "purged"):
            raise AgentGone(f"agent {agent_id} is removed")
        return agent

    def _agent_changed(self, before: Record | None, after: Record | None) -> None:
        """Nobody waits for an agent that has been given up."""
        agent = after or before
        if agent is None or (after is not None and after.state not in _GIVEN_UP):
            return
        now = asyncio.get_running_loop().time()
        for scope in self._open.pop(agent.id, ()):
            scope.reschedule(now)
