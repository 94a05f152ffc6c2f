"""The configuration item ``metadata-answers``, by which metadata containers of Rancher 1.6 get their environment.

Such a container listens for ``config.update``, downloads everything, and says which version it has. While one is
connected, it is told of each new revision: one question at a time, asked again when it is not answered, and repeated
every some seconds until the container has confirmed the revision. What a container has is not stored: after a start
of the server each is simply told again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from drover.client.world import Host, Key
from drover.server.bus import Event, NoAnswer, Refused
from drover.server.orchestration.context import Context
from drover.server.orchestration.durations import seconds
from drover.server.snapshot import Environment, Snapshots
from drover.server.snapshot.answers import (
    SOURCE_REVISION,
    Answers,
    compress_generic,
    own_part,
    parse_version,
)
from drover.server.snapshot.receivers import Receiver, Receivers
from drover.server.store import Record

log = structlog.get_logger(__name__)

ITEM = "metadata-answers"

_CLIENT = "v2"
_LATEST = "latest"
_KEPT_SECONDS = 30.0
_FIRST_SECONDS = 2.0
_MOST_CONNECTIONS = 100_000


@dataclass(slots=True)
class _Body:
    """The common part of an environment's answers, as it was asked for last."""

    answers: Answers = field(default_factory=Answers)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    epoch: str = ""
    revision: int = -1
    deflated: bytes = b""
    expiry: asyncio.TimerHandle | None = None


class MetadataAnswers:
    """The item, and the service that tells connected containers of new revisions (``run``)."""

    def __init__(self, context: Context, snapshots: Snapshots, receivers: Receivers) -> None:
        self._context = context
        self._snapshots = snapshots
        self._receivers = receivers
        self._bodies: dict[int, _Body] = {}
        self._applied: dict[int, int] = {}
        self._told: dict[int, asyncio.Task[None]] = {}

    # The item

    async def content(self, agent: Record, query: Mapping[str, str]) -> bytes | None:
        """The whole body. A client of another kind than v2 is none of ours: it is left in peace from then on."""
        receiver = await self._receivers.of_metadata(agent.id)
        if receiver is None:
            return None
        async with self._snapshots.following(receiver.environment_id) as environment:
            if query.get("client") != _CLIENT:
                self._applied[agent.id] = environment.revision
                return None
            wanted = query.get("requestedVersion", "")
            at_least = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) <= 18 else None
            revision, deflated = await self._body(environment, at_least)
            return deflated + own_part(revision, _host(environment, receiver))

    async def applied(self, agent: Record, version: str) -> bool:
        """What an older program made does not count: the agent downloads again."""
        receiver = await self._receivers.of_metadata(agent.id)
        if receiver is None:
            return False
        parsed = parse_version(version)
        if version == _LATEST:
            environment = self._snapshots.kept(receiver.environment_id)
            self._applied[agent.id] = 0 if environment is None else environment.revision
        elif parsed is not None and parsed[1] == SOURCE_REVISION:
            self._applied[agent.id] = max(parsed[0], self._applied.get(agent.id, 0))
        return True

    async def _body(self, environment: Environment, at_least: int | None) -> tuple[int, bytes]:
        """The common part, as it is kept if that is new enough for who asks."""
        body = self._bodies.setdefault(environment.account_id, _Body())
        async with body.making:
            needed = environment.revision if at_least is None else min(at_least, environment.revision)
            if body.epoch != environment.frames.epoch or body.revision < needed:
                text = body.answers.generic(environment.own, environment.foreign)
                body.epoch, body.revision = environment.frames.epoch, environment.revision
                body.deflated = await asyncio.to_thread(compress_generic, text)
            self._keep(environment.account_id, body)
            return body.revision, body.deflated

    def _keep(self, environment_id: int, body: _Body) -> None:
        if body.expiry is not None:
            body.expiry.cancel()
        loop = asyncio.get_running_loop()
        body.expiry = loop.call_later(_KEPT_SECONDS, lambda: self._bodies.pop(environment_id, None))

    # Telling

    async def run(self) -> None:
        """Tell connected metadata containers, until cancelled."""
        connections = self._context.bus.subscribe(["agent.connected", "agent.disconnected"], capacity=_MOST_CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as group:
                async for event in connections:
                    agent_id = int(event.resource_id or 0)
                    listens = self._context.bus.has_subscriber(_topic(agent_id))
                    if listens and agent_id not in self._told:
                        self._told[agent_id] = group.create_task(self._attend(agent_id))
                    elif not listens and agent_id in self._told:
                        self._told.pop(agent_id).cancel()
                        self._applied.pop(agent_id, None)
        finally:
            connections.close()

    async def _attend(self, agent_id: int) -> None:
        """Accompany one agent as long as it is connected."""
        while True:
            try:
                receiver = await self._receivers.of_metadata(agent_id)
                if receiver is None:
                    return
                async with self._snapshots.following(receiver.environment_id) as environment:
                    await self._tell(agent_id, environment)
            except Exception:
                log.exception("metadata.telling_failed", agent_id=agent_id, advice="it is tried again in a moment")
                await asyncio.sleep(self._sync_seconds())

    def _sync_seconds(self) -> float:
        return max(0.05, seconds(self._context.settings, "task.config.item.sync.schedule"))

    async def _tell(self, agent_id: int, environment: Environment) -> None:
        requested = environment.revision
        patience: float | None = min(_FIRST_SECONDS, self._sync_seconds())  # who connects downloads by itself
        while True:
            if self._applied.get(agent_id, 0) >= requested:
                patience = None
            try:
                async with asyncio.timeout(patience):
                    await environment.wait(requested)
            except TimeoutError:
                if self._applied.get(agent_id, 0) >= requested:
                    continue
            requested = environment.revision
            await self._ask(agent_id, requested)
            patience = self._sync_seconds()

    async def _ask(self, agent_id: int, revision: int) -> None:
        """One update is under way at a time: newer revisions wait until this one is answered or given up."""
        settings = self._context.settings
        item = {"name": ITEM, "requestedVersion": revision}
        data = {"configUrl": settings.get("api.host") or None, "items": [item]}
        for _ in range(max(1, settings.int("item.wait.for.event.tries"))):
            event = Event(name=_topic(agent_id), resource_type="agent", resource_id=str(agent_id), data=data)
            try:
                wait = seconds(settings, "item.wait.for.event.timeout.millis")
                await self._context.bus.request(event, timeout=wait, asked=f"agent:{agent_id}")
            except NoAnswer:
                continue
            except Refused as refusal:
                log.info("metadata.update_refused", agent_id=agent_id, reason=str(refusal))
            return
        log.info("metadata.update_unanswered", agent_id=agent_id, revision=revision)


def _topic(agent_id: int) -> str:
    return f"config.update;agent={agent_id}"


def _host(environment: Environment, receiver: Receiver) -> Host | None:
    host = environment.own.get(Key("host", receiver.host_uuid or ""))
    return host if isinstance(host, Host) else None
