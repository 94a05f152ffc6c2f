"""Events of a host's Docker engine: containers that started, stopped or vanished by themselves.

An event never repeats what the server itself has just done: it looks at the container's state first, and the
processes that it starts only write down what is (``containerNoOpEvent``).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Done, Engine, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.labels import UUID as UUID_LABEL
from drover.server.orchestration.instances.plan import plan_instance
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Changes, Record, StoreError

log = structlog.get_logger(__name__)

_GONE = frozenset({"removing", "removed", "purging", "purged"})
_BUSY_STARTED = frozenset({"creating", "running", "starting", "restarting"})
_PATIENCE = 3.0
_NO_OP = {"containerNoOpEvent": True}


@dataclass(frozen=True, slots=True)
class ContainerChange:
    """One event. ``timestamp`` in seconds; ``uuid`` and ``name`` where the reporter knows them."""

    external_id: str
    status: str
    image: str
    timestamp: int
    uuid: str | None = None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    inspect: Mapping[str, Any] | None = None


def plan_event(engine: Engine, changes: Changes, host: Record, change: ContainerChange) -> Record:
    """Plan an event as if the host's agent had posted it."""
    record = changes.insert(
        "containerEvent",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "containerEvent",
            "state": "requested",
            "created": now_ms(),
            "accountId": host["accountId"],
            "hostId": host.id,
            "externalId": change.external_id,
            "externalFrom": change.image,
            "externalStatus": change.status,
            "externalTimestamp": change.timestamp,
            "reportedHostUuid": host["reportedUuid"],
            "data": {"uuid": change.uuid, "name": change.name, "labels": dict(change.labels)},
            "dockerInspect": change.inspect,
        },
    )
    return engine.schedule(changes, "containerevent.create", record)


class ContainerEvents:
    """The handler of ``containerevent.create``."""

    def __init__(self, context: Context, channel: AgentChannel, hosts: Mirror) -> None:
        self._context = context
        self._channel = channel
        self._hosts = hosts
        self._locks: dict[tuple[int, str], tuple[asyncio.Lock, int]] = {}

    def register(self, handlers: Handlers) -> None:
        handlers.register("containerevent.create", self)

    async def __call__(self, run: Run) -> Outcome:
        event = run.record
        if not self._context.settings.bool("manage.nonrancher.containers"):
            return Done()
        await self._hosts.ready()
        host = self._host(event)
        if host is None or host.state in _GONE:
            return Done()
        key = (host.id, str(event["externalId"]))
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                await self._take(event, host)
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
        return Done()

    def _host(self, event: Record) -> Record | None:
        if event["hostId"] is not None:
            return self._hosts.get(event["hostId"])
        reported = event["reportedHostUuid"]
        return next((h for h in self._hosts if reported and reported in (h["reportedUuid"], h.uuid)), None)

    async def _take(self, event: Record, host: Record) -> None:
        instance = await self._find(event, host)
        status = str(event["externalStatus"])
        if instance is None:
            if status == "start":
                await self._adopt(event, host)
            return
        if instance.state in _GONE or instance["removed"] is not None:
            return
        match status:
            case "start":
                await self._started(instance)
            case "stop" | "die":
                await self._stopped(instance)
            case "destroy":
                await self._destroyed(instance)

    # Known containers

    async def _started(self, instance: Record) -> None:
        if instance.state in _BUSY_STARTED:
            return
        await self._schedule("instance.start", await self._settled(instance, "stopping"))

    async def _stopped(self, instance: Record) -> None:
        if instance.state in ("stopped", "stopping"):
            return
        await self._schedule("instance.stop", await self._settled(instance, "starting"))

    async def _destroyed(self, instance: Record) -> None:
        instance = await self._settled(instance, "stopping")
        if self._context.engine.can_schedule("instance.remove", instance):
            await self._schedule("instance.remove", instance)
        else:
            await self._schedule("instance.stop", instance, remove=True)

    async def _settled(self, instance: Record, passing: str) -> Record:
        """Give a transition under way a moment to end: it is most likely the cause of the event."""
        if instance.state != passing:
            return instance
        try:
            found = await self._context.watch.until(
                "instance", instance.id, lambda row: row is None or row.state != passing, timeout=_PATIENCE
            )
        except TimeoutError:
            return instance
        return found or instance

    async def _schedule(self, process: str, instance: Record, **data: Any) -> None:
        """Start a process that only writes down; one that the state does not allow is not needed."""
        if instance.state in ("stopped", "running") and process == _needless(instance.state):
            return
        changes = self._context.store.changes()
        try:
            self._context.engine.schedule(changes, process, instance, {**_NO_OP, **data})
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as refused:
            log.info("container_event.not_applied", process=process, instance_id=instance.id, reason=str(refused))

    async def _find(self, event: Record, host: Record) -> Record | None:
        """By the uuid on its label, else by Docker's id. What another environment owns is not ours to touch."""
        store = self._context.store
        own_uuid = _uuid_of(event)
        if own_uuid:
            found = await store.find_by("instance", uuid=own_uuid, accountId=host["accountId"])
            if found:
                return found[0]
        found = await store.find_by("instance", externalId=str(event["externalId"]), accountId=host["accountId"])
        living = [each for each in found if each["removed"] is None]
        return next(iter(living or found), None)

    # Unknown containers

    async def _adopt(self, event: Record, host: Record) -> None:
        """Somebody started a container on the host: it becomes a native one of the environment."""
        inspect = await self._inspect(event, host)
        if inspect is None:
            log.info("container_event.gone_already", host_id=host.id, external_id=event["externalId"])
            return
        network_mode, network_container = await self._network(inspect, host)
        config: Mapping[str, Any] = inspect.get("Config") or {}
        labels = config.get("Labels") or (event["data"] or {}).get("labels") or {}
        name = str(inspect.get("Name") or (event["data"] or {}).get("name") or "").removeprefix("/")
        settings: Mapping[str, Any] = inspect.get("NetworkSettings") or {}
        changes = self._context.store.changes()
        record = plan_instance(
            self._context,
            changes,
            {
                "uuid": _uuid_of(event) or None,
                "accountId": host["accountId"],
                "nativeContainer": True,
                "externalId": str(event["externalId"]),
                "name": name or None,
                "requestedHostId": host.id,
                "imageUuid": f"docker:{event['externalFrom'] or config.get('Image') or ''}",
                "labels": {str(key): str(value) for key, value in labels.items()},
                "networkMode": network_mode,
                "networkContainerId": network_container,
                "requestedIpAddress": settings.get("IPAddress") or None,
                "command": config.get("Cmd"),
                "entryPoint": config.get("Entrypoint"),
                "tty": config.get("Tty"),
                "stdinOpen": config.get("OpenStdin"),
            },
            **_NO_OP,
        )
        changes.claim(f"native:{host.id}:{event['externalId']}", record)
        await self._context.store.commit(changes)
        log.info("container_event.adopted", host_id=host.id, instance_id=record.id, name=name)

    async def _inspect(self, event: Record, host: Record) -> Mapping[str, Any] | None:
        """Docker's description of the container. An agent that has none (a simulated one) leaves it empty."""
        inspect = event["dockerInspect"]
        if inspect:
            return dict(inspect)
        target = {"kind": "docker", "id": event["externalId"]}
        try:
            reply = await self._channel.call(
                int(host["agentId"]),
                "compute.instance.inspect",
                resource_type="instanceInspect",
                data={"instanceInspect": target},
            )
        except (NoAnswer, Refused, AgentGone) as error:
            log.info("container_event.no_inspect", host_id=host.id, reason=str(error))
            return None
        found = reply.get("instanceInspect")
        if not found and host.kind != "sim":
            return None
        return found or {}

    async def _network(self, inspect: Mapping[str, Any], host: Record) -> tuple[str, int | None]:
        config: Mapping[str, Any] = inspect.get("Config") or {}
        if config.get("NetworkDisabled"):
            return "none", None
        mode = str((inspect.get("HostConfig") or {}).get("NetworkMode") or "bridge")
        if not mode.startswith("container:"):
            return mode if mode in ("host", "none", "bridge", "default") else "bridge", None
        target = mode.removeprefix("container:")
        found = await self._context.store.find_by(
            "instance", externalId=target, accountId=host["accountId"], removed=None
        )
        return ("container", found[0].id) if found else ("none", None)


def _uuid_of(event: Record) -> str:
    inspect: Mapping[str, Any] = event["dockerInspect"] or {}
    config: Mapping[str, Any] = inspect.get("Config") or {}
    labelled = (config.get("Labels") or {}).get(UUID_LABEL)
    if labelled:
        return str(labelled)
    for variable in config.get("Env") or ():
        if str(variable).startswith("RANCHER_UUID="):
            return str(variable).partition("=")[2]
    own = str((event["data"] or {}).get("uuid") or "")
    return "" if own.startswith("no-uuid") else own


def _needless(state: str) -> str:
    return {"stopped": "instance.stop", "running": "instance.start"}[state]
