"""Comparing what a host runs with what the server believes it runs, and mending the difference.

An agent lists its containers with every third ping. What differs becomes the same event that the agent would have
sent at the time, so there is one way in which the outside changes containers.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from drover.server.lifecycle import Engine
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.events.container_events import ContainerChange, plan_event
from drover.server.orchestration.instances.payload import brief_map
from drover.server.orchestration.instances.usage import Usage
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record

log = structlog.get_logger(__name__)

_REPEAT_AFTER = 15 * 60.0
_SETTLED = frozenset({"running", "stopped", "error", "removed"})
_NOT_MISSED = frozenset({"removing", "removed", "error", "erroring", "purging", "purged"})


class InstanceSync:
    """Takes the lists of containers from pongs."""

    def __init__(self, context: Context, channel: AgentChannel, hosts: Mirror, usage: Usage) -> None:
        self._context = context
        self._channel = channel
        self._hosts = hosts
        self._usage = usage
        self._told: dict[tuple[str, str], float] = {}
        self._agreed: dict[int, tuple[int, int]] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def take(self, agent: Record, elements: list[dict[str, Any]]) -> None:
        """Compare one list."""
        listed = {str(each["uuid"]): each for each in elements if each["type"] == "instance" and each.get("uuid")}
        of_host = next(
            (str(each["uuid"]) for each in elements if each["type"] == "hostUuid" and each.get("uuid")), None
        )
        await self._hosts.ready()
        host = next(
            (h for h in self._hosts.where(agentId=agent.id) if of_host in (None, h["reportedUuid"], h.uuid)), None
        )
        if host is not None:
            async with self._locks.setdefault(host.id, asyncio.Lock()):
                await self._compare(agent, host, listed)

    async def _compare(self, agent: Record, host: Record, listed: dict[str, dict[str, Any]]) -> None:
        await self._usage.ready()
        picture = (_digest(listed), self._usage.generation(host.id))
        if self._agreed.get(host.id) == picture:
            return  # neither side has changed since they were last compared
        self._agreed[host.id] = picture
        store = self._context.store
        known = {row.uuid: row for row in await store.find_by("instance", hostId=host.id, removed=None)}
        by_docker_id = {str(row["externalId"]): row for row in known.values() if row["externalId"]}
        seen: set[int] = set()
        for own_uuid, report in listed.items():
            row = known.get(own_uuid) or by_docker_id.get(str(report.get("dockerId")))
            if row is not None:
                seen.add(row.id)
                await self._settle(host, row, report)
            else:
                await self._unknown(agent, host, own_uuid, report)
        for row in known.values():
            if row.id not in seen:
                await self._absent(host, row)

    async def _settle(self, host: Record, row: Record, report: dict[str, Any]) -> None:
        state = str(report.get("state"))
        if row.state not in _SETTLED or row.state == state:
            return
        if row.state == "stopped" and state == "running":
            await self._tell(host, row.uuid, report, "start")
        elif row.state == "running" and state == "stopped":
            await self._tell(host, row.uuid, report, "stop")

    async def _unknown(self, agent: Record, host: Record, own_uuid: str, report: dict[str, Any]) -> None:
        """A container that nobody told us about, or one that we removed while the host was away."""
        removed = await self._context.store.first("instance", uuid=own_uuid)
        if removed is None:
            await self._tell(host, own_uuid, report, "start")
        elif removed["removed"] is not None and removed["externalId"] not in (None, "", report.get("dockerId")):
            # A container without our label is known by its name, and the name was given to another one since.
            await self._tell(host, f"no-uuid-{own_uuid}", report, "start")
        elif removed["removed"] is not None and not removed["nativeContainer"]:
            log.info("sync.remove", host_id=host.id, instance_id=removed.id)
            await self._command(agent, host, "compute.instance.remove", brief_map(removed, host_id=host.id))
        elif removed["removed"] is not None and report.get("state") == "running":
            # Somebody else's: we end what we were told to end, and leave the rest to its owner.
            log.info("sync.force_stop", host_id=host.id, instance_id=removed.id)
            stop = {"instanceForceStop": {"kind": "docker", "id": report.get("dockerId")}}
            await self._command(agent, host, "compute.instance.force.stop", stop)

    async def _command(self, agent: Record, host: Record, name: str, data: dict[str, Any]) -> None:
        self._agreed.pop(host.id, None)
        try:
            await self._channel.tell(agent.id, name, data)
        except AgentGone:
            log.debug("sync.agent_gone", host_id=host.id, command=name)

    async def _absent(self, host: Record, row: Record) -> None:
        gone = row.state in _SETTLED and row.state not in _NOT_MISSED and row["externalId"]
        if gone:
            report = {"dockerId": row["externalId"], "image": row["imageUuid"], "labels": row["labels"]}
            await self._tell(host, row.uuid, report, "destroy")

    async def _tell(self, host: Record, own_uuid: str, report: dict[str, Any], status: str) -> None:
        self._agreed.pop(host.id, None)
        external_id = str(report.get("dockerId") or "")
        if not external_id:
            return
        now = time.monotonic()
        told = self._told.get((external_id, status))
        if told is not None and now - told < _REPEAT_AFTER:
            return
        self._told[external_id, status] = now
        if len(self._told) > 10_000:
            self._told = {key: at for key, at in self._told.items() if now - at < _REPEAT_AFTER}
        change = ContainerChange(
            external_id=external_id,
            status=status,
            image=str(report.get("image") or "").removeprefix("docker:"),
            timestamp=int(report.get("created") or 0),
            uuid=own_uuid,
            name=own_uuid if not own_uuid.startswith("no-uuid") else None,
            labels={str(key): str(value) for key, value in (report.get("labels") or {}).items()},
        )
        changes = self._context.store.changes()
        engine: Engine = self._context.engine
        plan_event(engine, changes, host, change)
        await self._context.store.commit(changes)


def _digest(listed: dict[str, dict[str, Any]]) -> int:
    return hash(
        frozenset((own_uuid, str(each.get("state")), str(each.get("dockerId"))) for own_uuid, each in listed.items())
    )
