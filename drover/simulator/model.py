"""A host that exists only as a description: a request goes in, the reply of a host's agent comes out.

Pure, with the time passed in, so that the server (agents whose ``uri`` is not ``event://``) and the program
``drover simulate`` (agents that speak the real protocol) behave alike. Source: the agent simulator of Rancher 1.6,
whose switches in names, labels and environments and whose overrides in the agent's data are kept.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from drover.client.events import HOST_CLEANUP

OVERRIDES_KEY = "io.cattle.platform.agent.connection.simulator.AgentConnectionSimulator"
ACTIVATE_KEY = "io.cattle.platform.process.agent.AgentActivate"

EVENTS = (
    "ping",
    "compute.instance.activate",
    "compute.instance.deactivate",
    "compute.instance.force.stop",
    "compute.instance.inspect",
    "compute.instance.pull",
    "compute.instance.remove",
    "config.update",
    "console.access",
    "delegate.request",
    HOST_CLEANUP,
    "storage.image.activate",
    "storage.image.remove",
    "storage.volume.activate",
    "storage.volume.deactivate",
    "storage.volume.remove",
)
"""What a simulated host's agent listens to."""

_SHUTDOWN = re.compile(r"simShutdownAfter\D{0,8}(\d+)")
_CREATE_ANOTHER = re.compile(r"simCreateAnother_(\w+)")
_SEPARATOR = "::fail"


class Overrides(msgspec.Struct, rename="camel", frozen=True):
    """What can be told about a simulated host through the agent's data."""

    external_id: str | None = None
    add_physical_host: bool = True
    hosts: int = 1
    storage_pools_per_host: int = 1
    milli_cpu: int | None = None
    memory: int | None = None
    local_storage_mb: int | None = None
    ip_address: str = "192.168.0.21"

    @classmethod
    def of(cls, agent_data: Mapping[str, Any] | None) -> Overrides:
        """Read them from the ``data`` of an agent; numbers and booleans may be texts."""
        values = (agent_data or {}).get(OVERRIDES_KEY) or {}
        return msgspec.convert(values, cls, strict=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. ``error`` is a text for the user; with ``silent`` nothing at all is sent."""

    data: dict[str, Any] | None = None
    error: str | None = None
    silent: bool = False


@dataclass(slots=True)
class SimulatedContainer:
    """One container. ``stops_at`` is a moment in seconds of the caller's clock."""

    uuid: str
    external_id: str
    image: str
    labels: dict[str, Any]
    created: int
    state: str = "running"
    stops_at: float | None = None


@dataclass(slots=True)
class SimulatedAgent:
    """The agent of one or more simulated hosts. ``resource_prefix`` names its resources (the agent's uuid)."""

    resource_prefix: str
    overrides: Overrides = field(default_factory=Overrides)
    containers: dict[str, SimulatedContainer] = field(default_factory=dict)
    connected: bool = True
    cleaned_up: list[str] = field(default_factory=list)
    """The programs that a removed host was told to run, by name."""

    def answer(self, name: str, data: Any, *, now: float) -> Answer:
        """React to one request. ``name`` is the event without its qualifier; ``now`` in seconds since the epoch."""
        text = msgspec.json.encode(data).decode() if data is not None else ""
        if "simDisconnectAgent" in text:
            self.connected = False
        if not self.connected:
            return Answer(silent=True)
        if f"{name}{_SEPARATOR}" in text:
            return Answer(error=f"Failing [{name}]")
        self._stop_due(now)
        match name:
            case "ping":
                return Answer(self._pong(data or {}))
            case "compute.instance.activate":
                return Answer(self._activate(data or {}, text, now))
            case "compute.instance.deactivate":
                self._set_state(data or {}, "stopped")
            case "compute.instance.remove":
                self.containers.pop(_uuid_of(data or {}), None)
            case "compute.instance.force.stop":
                self._force_stop(str((data or {}).get("instanceForceStop", {}).get("id")))
            case "compute.instance.inspect":
                return Answer({"instanceInspect": None})
            case "host.cleanup":
                self._clean_up(data or {})
            case "console.access":
                return Answer({"kind": "fake", "url": "http://localhost/console"})
        return Answer({})

    def next_stop(self) -> float | None:
        """When a container will stop by itself next."""
        return min((each.stops_at for each in self.containers.values() if each.stops_at is not None), default=None)

    # Containers

    def _activate(self, data: Mapping[str, Any], text: str, now: float) -> dict[str, Any]:
        instance: Mapping[str, Any] = (data.get("instanceHostMap") or {}).get("instance") or {}
        fields: Mapping[str, Any] = (instance.get("data") or {}).get("fields") or {}
        own_uuid = str(instance.get("uuid"))
        known = self.containers.get(own_uuid)
        external_id = instance.get("externalId") or (known.external_id if known else None)
        reply: dict[str, Any] = {}
        if external_id is None:
            external_id = str(uuid.uuid4())
            reply = {"instanceHostMap": {"instance": {"externalId": external_id}}}
        elif not instance.get("externalId"):
            reply = {"instanceHostMap": {"instance": {"externalId": external_id}}}
        container = SimulatedContainer(
            uuid=own_uuid,
            external_id=str(external_id),
            image=str(fields.get("imageUuid") or ""),
            labels=dict(fields.get("labels") or {}),
            created=known.created if known else int(now),
        )
        shutdown = _SHUTDOWN.search(text)
        if shutdown is not None:
            container.stops_at = now + int(shutdown[1])
        if "simForgetImmediately" in text:
            self.containers.pop(own_uuid, None)
        else:
            self.containers[own_uuid] = container
        another = _CREATE_ANOTHER.search(text)
        if another is not None:
            self._create_another(another[1], container)
        return reply

    def _create_another(self, number: str, like: SimulatedContainer) -> None:
        own_uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.resource_prefix}-{number}"))
        if own_uuid not in self.containers:
            self.containers[own_uuid] = SimulatedContainer(own_uuid, str(uuid.uuid4()), like.image, {}, like.created)

    def _set_state(self, data: Mapping[str, Any], state: str) -> None:
        container = self.containers.get(_uuid_of(data))
        if container is not None:
            container.state, container.stops_at = state, None

    def _force_stop(self, external_id: str) -> None:
        for container in self.containers.values():
            if container.external_id == external_id:
                container.state, container.stops_at = "stopped", None

    def _clean_up(self, data: Mapping[str, Any]) -> None:
        programs = (data.get("hostCleanup") or {}).get("programs") or ()
        self.cleaned_up += [str((each.get("instance") or {}).get("name")) for each in programs]

    def _stop_due(self, now: float) -> None:
        for container in self.containers.values():
            if container.stops_at is not None and container.stops_at <= now:
                container.state, container.stops_at = "stopped", None

    # Ping

    def _pong(self, data: Mapping[str, Any]) -> dict[str, Any]:
        options = data.get("options") or {}
        resources: list[dict[str, Any]] = []
        reply: dict[str, Any] = {"resources": resources}
        if options.get("resources"):
            resources.extend(self._resources())
        if options.get("instances"):
            resources.extend(self._listed())
            reply["options"] = {"instances": True}
        return reply

    def _resources(self) -> list[dict[str, Any]]:
        """In an order no server may depend on: pools before hosts, the machine last."""
        physical = f"{self.resource_prefix}-physical-host"
        found: list[dict[str, Any]] = []
        hosts: list[dict[str, Any]] = []
        for number in range(self.overrides.hosts):
            host_uuid = f"{self.resource_prefix}-{number}"
            name = f"testhost-{self.resource_prefix}" + (f"-{number}" if number else "")
            host: dict[str, Any] = {"type": "host", "kind": "sim", "uuid": host_uuid, "name": name, "hostname": name}
            if self.overrides.add_physical_host:
                host["physicalHostUuid"] = physical
            for key in ("milli_cpu", "memory", "local_storage_mb"):
                value = getattr(self.overrides, key)
                if value is not None:
                    host[_CAMEL[key]] = value
            hosts.append(host)
            for pool in range(self.overrides.storage_pools_per_host):
                pool_uuid = f"{host_uuid}-{pool}"
                found.append({"type": "storagePool", "kind": "sim", "uuid": pool_uuid, "hostUuid": host_uuid})
        found.extend(hosts)
        if hosts:
            address = self.overrides.ip_address
            found.append({"type": "ipAddress", "uuid": address, "address": address, "hostUuid": str(hosts[0]["uuid"])})
        if self.overrides.add_physical_host:
            found.append({"type": "physicalHost", "kind": "physicalHost", "uuid": physical})
        return found

    def _listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = [
            {
                "type": "instance",
                "uuid": each.uuid,
                "state": each.state,
                "dockerId": each.external_id,
                "image": each.image,
                "labels": each.labels,
                "created": each.created,
            }
            for each in self.containers.values()
        ]
        listed.append({"type": "hostUuid", "uuid": f"{self.resource_prefix}-0"})
        return listed


_CAMEL = {"milli_cpu": "milliCpu", "memory": "memory", "local_storage_mb": "localStorageMb"}


def _uuid_of(data: Mapping[str, Any]) -> str:
    return str(((data.get("instanceHostMap") or {}).get("instance") or {}).get("uuid"))
