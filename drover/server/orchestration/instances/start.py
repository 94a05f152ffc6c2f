"""Starting a container: a host, an address, one command to the agent. Two commits and one message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.bus import Event, NoAnswer, Refused
from drover.server.lifecycle import Again, Chain, Done, Outcome, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.instances import dependencies, ports
from drover.server.orchestration.instances.agent_keys import environment_of
from drover.server.orchestration.instances.allocator import Allocation, Allocator
from drover.server.orchestration.instances.connect import Connection, Connector
from drover.server.orchestration.instances.dependencies import Dependencies
from drover.server.orchestration.instances.errors import NotReady, StartFailed
from drover.server.orchestration.instances.payload import instance_map, link_row
from drover.server.orchestration.instances.report import read_reply
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.retry import later
from drover.server.orchestration.volumes.mounted import plan_rows as plan_mount_rows
from drover.server.orchestration.volumes.mounted import read_mounts
from drover.server.orchestration.volumes.where import VolumeInUse, VolumePlaces
from drover.server.store import ClaimTaken, Record, StoreError

log = structlog.get_logger(__name__)

_DEPENDENCY_TRIES = 10


@dataclass(frozen=True, slots=True)
class StartTools:
    """What a start works with."""

    channel: AgentChannel
    hosts: Mirror
    allocator: Allocator
    connector: Connector
    credentials: RegistryCredentials
    volumes: VolumePlaces
    background: Background


class Start:
    """The handler of ``instance.start``."""

    def __init__(self, context: Context, tools: StartTools) -> None:
        self._context = context
        self._tools = tools

    async def __call__(self, run: Run) -> Outcome:
        try:
            needed = await dependencies.wait_for(self._context, run.record)
            limits = await self._tools.volumes.limits(run.record)
            allocation = await self._tools.allocator.allocate(run.record, only_hosts=(*needed.hosts, *limits))
            connection = await self._settle(run, allocation)
            reply = await self._activate(run, allocation, connection, needed)
        except StartFailed as error:
            return _failed(run, str(error))
        except VolumeInUse as error:
            return _failed(run, f"Allocation failed: {error}")
        except NotReady as error:
            return self._wait(run, str(error))
        except AgentGone as error:
            return _failed(run, f"{error}; its host cannot start containers any more")
        except NoAnswer as error:
            return await self._unanswered(run, str(error))
        return await self._started(run, read_reply(reply, run.record))

    # Place and address

    async def _settle(self, run: Run, allocation: Allocation) -> Connection:
        """Make the place and the address durable."""
        instance = run.record
        host = self._host(allocation)
        changes = run.plan()
        connection = await self._tools.connector.connect(changes, instance, host_kind=host.kind)
        values: dict[str, Any] = dict(connection.values)
        if instance["hostId"] is None:
            values.update(hostId=allocation.host.id, allocationState="active")
        if allocation.ports:
            self._tools.allocator.plan_ports(changes, instance, allocation)
            values["publishedPorts"] = [
                f"{port.address}:{port.public or ''}:{port.private}/{port.protocol}" for port in allocation.ports
            ]
        if not values:
            return connection
        try:
            await run.apply(values, changes)
        except ClaimTaken as taken:
            self._take_back(run, connection)
            if taken.key.startswith("port:"):
                raise StartFailed(
                    f"Allocation failed: port {taken.key.rpartition(':')[2]} of host {allocation.host.name} is held by "
                    f"container {taken.owner_id}; stop it or choose another port."
                ) from taken
            raise
        except StoreError:
            self._take_back(run, connection)
            raise
        return connection

    def _take_back(self, run: Run, connection: Connection) -> None:
        self._tools.connector.disconnect(connection)
        if run.record["hostId"] is None:
            self._tools.allocator.forget(run.record.id)

    def _host(self, allocation: Allocation) -> Record:
        host = self._tools.hosts.get(allocation.host.id)
        if host is None:
            raise StartFailed(f"Host {allocation.host.name} was removed while the container started.")
        return host

    # The command

    async def _activate(
        self, run: Run, allocation: Allocation, connection: Connection, needed: Dependencies
    ) -> Mapping[str, Any]:
        """Tell the agent, again when it refuses; its last refusal is the reason that is shown."""
        host = self._host(allocation)
        if host["agentId"] is None:
            raise StartFailed(f"Host {allocation.host.name} has no agent that could start containers.")
        data = await self._payload(run.record, host, connection, needed)
        data["processData"] = {"containerNoOpEvent": bool(run.data.get("containerNoOpEvent"))}
        refused = ""
        for _ in range(max(1, self._context.settings.int("instance.compute.tries"))):
            try:
                return await self._tools.channel.call(
                    int(host["agentId"]),
                    "compute.instance.activate",
                    resource_type="instanceHostMap",
                    resource_id=run.record.id,
                    data=data,
                    context={"processId": run.process_record.id},
                    on_progress=lambda event: self._show(run, event),
                )
            except Refused as error:
                refused = str(error)
                run.note("refused", reason=refused)
        raise StartFailed(refused)

    def _show(self, run: Run, event: Event) -> None:
        """Progress of the agent, such as a pull, becomes the container's message."""
        run.note("progress", text=event.transitioning_message)
        changes = run.plan()
        text = f"Storage : {event.transitioning_message}"
        shown = {"transitioningMessage": text, "transitioningProgress": event.transitioning_progress}
        run.record = changes.update(run.record, shown)
        self._tools.background.commit(self._context.store, changes)

    async def _payload(
        self, instance: Record, host: Record, connection: Connection, needed: Dependencies
    ) -> dict[str, Any]:
        store = self._context.store
        links = instance["instanceLinks"] or {}
        targets = await store.get_many("instance", [int(each) for each in links.values() if each]) if links else {}
        mounts = instance["dataVolumeMounts"] or {}
        volumes = await store.get_many("volume", [int(each) for each in mounts.values()]) if mounts else {}
        return instance_map(
            instance,
            host=host,
            network_kind=connection.attachment.kind,
            network=connection.attachment.network,
            subnet=connection.subnet,
            environment=await environment_of(store, self._context.vault, instance),
            credential=await self._tools.credentials.payload(instance["registryCredentialId"])
            if instance["registryCredentialId"]
            else None,
            links=[link_row(name, targets.get(int(target)) if target else None) for name, target in links.items()],
            network_container=needed.network,
            volumes_from=needed.volumes,
            volumes=volumes.values(),
        )

    # The end

    async def _started(self, run: Run, reported: dict[str, Any]) -> Done:
        """Running: what the agent told becomes values and, where there is any, rows for ports and volumes."""
        instance = run.record
        changes = run.plan()
        published = reported.get("publishedPorts") or instance["publishedPorts"]
        if published:
            await ports.plan_rows(self._context.store, changes, instance, published)
        mounts = read_mounts((reported.get("data") or {}).get("dockerMounts") or ())
        if mounts or instance["dataVolumeMounts"]:
            await plan_mount_rows(self._context.store, changes, instance, mounts)
        now = now_ms()
        values: dict[str, Any] = {**reported, "startCount": int(instance["startCount"] or 0) + 1}
        if instance["firstRunning"] is None:
            values["firstRunning"] = now
        if instance["ipAddressId"] is None and reported.get("dockerIp"):
            values["primaryIpAddress"] = reported["dockerIp"]
        if instance["healthCheck"] and instance["healthState"] in (None, "healthy"):
            values["healthState"] = "initializing" if instance["healthState"] is None else "reinitializing"
            values["healthUpdated"] = now
        if instance["transitioning"] is not None or instance["transitioningMessage"] is not None:
            values.update(transitioning=None, transitioningMessage=None, transitioningProgress=None)
        return Done(values, changes)

    def _wait(self, run: Run, reason: str) -> Outcome:
        tries = int(run.data.get("depTry") or 0) + 1
        run.data["depTry"] = tries
        if tries >= _DEPENDENCY_TRIES:
            return _failed(run, f"Dependencies readiness error : {reason}")
        return Again(1.0, reason)

    async def _unanswered(self, run: Run, reason: str) -> Outcome:
        """A lost host: a container that can be replaced is let go, any other waits for its host."""
        host = self._tools.hosts.get(run.record["hostId"])
        lost = host is None or not await self._tools.channel.is_reachable(host["agentId"])
        if lost and (run.record["healthCheck"] or run.record["firstRunning"] is None):
            return Chain("instance.stop", data={"remove": True})
        return later(run, self._context.settings, reason)


def _failed(run: Run, message: str) -> Chain:
    """Stop, then *error* if the container was never running; the message stays visible."""
    first = bool(run.data.get("creating")) and not run.record["nativeContainer"]
    log.info("instance.start_failed", instance_id=run.record.id, reason=message)
    return Chain(
        "instance.stop",
        values={"transitioning": "error", "transitioningMessage": message},
        data={"errorState": first},
    )
