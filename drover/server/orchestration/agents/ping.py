"""The heartbeat: every agent is asked at a steady rhythm, and what it says about its host is taken over.

One task for all agents. A round is spread over its interval, so a hundred hosts never answer at the same moment, and
a pong that says what the last one said costs a hash and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.agents.uris import is_pinged
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record, StoreError

log = structlog.get_logger(__name__)

_SLICES = 10
PongHandler = Callable[[Record, list[dict[str, Any]]], Awaitable[None]]


class Pinger:
    """Pings active agents. ``on_resources`` gets what a host reports, ``on_instances`` its list of containers."""

    def __init__(
        self,
        context: Context,
        agents: Mirror,
        channel: AgentChannel,
        *,
        on_resources: PongHandler,
        on_instances: PongHandler,
    ) -> None:
        self._context = context
        self._agents = agents
        self._channel = channel
        self._on_resources = on_resources
        self._on_instances = on_instances
        self._failures: Counter[int] = Counter()
        self._hashes: dict[int, bytes] = {}
        self._reports: dict[int, asyncio.Lock] = {}
        self._round = 0
        self._background = Background()
        agents.on_change(self._agent_changed)

    async def run(self) -> None:
        """Ping for ever."""
        await self._agents.ready()
        try:
            while True:
                await self._spread_round()
        finally:
            await self._background.close()

    async def ping_all(self) -> None:
        """One round at once, with everything that can be asked for; returns when the last agent has answered."""
        await self._agents.ready()
        options = {"stats": True, "resources": True, "instances": True}
        await asyncio.gather(*(self._ping(agent, options) for agent in self._pinged()))

    def greet(self, agent: Record) -> None:
        """First contact with an agent that was activated: ask for its resources until it answers, in the background."""
        self._background.spawn(self._greet(agent))

    async def _greet(self, agent: Record) -> None:
        settings = self._context.settings
        wait = seconds(settings, "agent.activate.ping.timeout") * max(1, settings.int("agent.activate.ping.retries"))
        try:
            await self.ask(agent, {"stats": True, "resources": True, "instances": True}, timeout=wait)
        except (NoAnswer, Refused, AgentGone, StoreError) as error:
            log.info("agent.no_greeting", agent_id=agent.id, reason=str(error))

    async def ask(self, agent: Record, options: dict[str, bool], *, timeout: float) -> None:
        """One ping, and what follows from its answer. Raises NoAnswer, Refused or AgentGone."""
        pong = await self._channel.call(
            agent.id,
            "ping",
            resource_type="agent",
            resource_id=agent.id,
            data={"options": options, "resources": []},
            timeout=timeout,
        )
        resources = [each for each in pong.get("resources") or [] if isinstance(each, dict) and each.get("type")]
        if options.get("resources") and any(each["type"] == "host" for each in resources):
            await self._take_resources(agent, resources)
        if (pong.get("options") or {}).get("instances"):
            await self._on_instances(agent, resources)

    async def _take_resources(self, agent: Record, resources: list[dict[str, Any]]) -> None:
        reported = [each for each in resources if each["type"] != "instance"]
        digest = hashlib.blake2b(msgspec.json.encode(reported, order="sorted"), digest_size=16).digest()
        async with self._reports.setdefault(agent.id, asyncio.Lock()):
            if self._hashes.get(agent.id) == digest:
                return
            await self._on_resources(agent, reported)
            self._hashes[agent.id] = digest

    def forget(self, agent_id: int) -> None:
        """The agent's rows changed under our feet, or it is gone: take its next report in full."""
        self._hashes.pop(agent_id, None)
        self._failures.pop(agent_id, None)

    def _agent_changed(self, before: Record | None, after: Record | None) -> None:
        """An agent that is reached another way from now on is somebody else: ask for its resources at once."""
        if before is None or after is None or before["uri"] == after["uri"]:
            return
        self.forget(after.id)
        if after.state == "active" and is_pinged(str(after["uri"] or "")):
            self.greet(after)

    # Rounds

    async def _spread_round(self) -> None:
        self._round += 1
        options = self._options()
        pause = seconds(self._context.settings, "task.agent.ping.schedule") / _SLICES
        for number in range(_SLICES):
            for agent in self._pinged():
                if agent.id % _SLICES == number:
                    # Also while the last one is open, so that six missed pings take 40 seconds and not 90.
                    self._background.spawn(self._ping(agent, options))
            await asyncio.sleep(max(pause, 0.001))

    def _options(self) -> dict[str, bool]:
        every = self._context.settings.int
        return {
            name: True
            for name in ("stats", "resources", "instances")
            if self._round % max(1, every(f"agent.ping.{name}.every")) == 0
        }

    def _pinged(self) -> list[Record]:
        return [agent for agent in self._agents if agent.state == "active" and is_pinged(str(agent["uri"] or ""))]

    async def _ping(self, agent: Record, options: dict[str, bool]) -> None:
        try:
            await self.ask(agent, options, timeout=seconds(self._context.settings, "agent.ping.timeout.seconds"))
            self._failures.pop(agent.id, None)
        except AgentGone:
            self.forget(agent.id)
        except (NoAnswer, Refused) as error:
            await self._missed(agent, str(error))
        except StoreError as error:
            log.info("agent.ping_conflict", agent_id=agent.id, reason=str(error))

    async def _missed(self, agent: Record, reason: str) -> None:
        self._failures[agent.id] += 1
        missed = self._failures[agent.id]
        log.log(20 if missed <= 2 else 30, "agent.ping_missed", agent_id=agent.id, missed=missed, reason=reason)
        if missed >= self._context.settings.int("agent.ping.reconnect.after.failed.count"):
            self.forget(agent.id)
            await self._reconnect(agent.id)

    async def _reconnect(self, agent_id: int) -> None:
        agent = self._agents.get(agent_id)
        if agent is None or agent.state != "active":
            return
        changes = self._context.store.changes()
        try:
            self._context.engine.schedule(changes, "agent.reconnect", agent)
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as error:
            log.info("agent.reconnect_not_started", agent_id=agent_id, reason=str(error))
