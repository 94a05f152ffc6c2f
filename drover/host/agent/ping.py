"""The answer to a ping: what the host is, and which containers it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import structlog

from drover.client.events import (
    HostElement,
    HostUuidElement,
    InstanceElement,
    IpAddressElement,
    PhysicalHostElement,
    PingElement,
    PingOptions,
    PingReply,
    PingRequest,
    StoragePoolElement,
)
from drover.host.agent import host_facts
from drover.host.agent.identity import HostIdentity, engine_identity
from drover.host.agent.images import Progress
from drover.host.agent.index import ContainerEntry, ContainerIndex
from drover.host.agent.parameters.names import LABEL_AGENT_TASK
from drover.host.agent.payload import decode
from drover.host.agent.settings import AgentSettings

log = structlog.get_logger(__name__)


class Pinger:
    """Answers pings. The container list comes from the index, so a ping never waits for the engine."""

    def __init__(
        self,
        settings: AgentSettings,
        identity: HostIdentity,
        index: ContainerIndex,
        *,
        engine_info: Mapping[str, Any],
        engine_version: Mapping[str, Any],
        hostname: str,
        host_ip: str | None,
        host_key: str,
        cloud_labels: Callable[[], Mapping[str, str]],
        index_complete: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._index = index
        self._info = engine_info
        self._version = engine_version
        self._hostname = hostname
        self._host_ip = host_ip
        self._host_key = host_key
        self._cloud_labels = cloud_labels
        self._index_complete = index_complete
        self._cpu = host_facts.CpuMeter()

    async def answer(self, data: msgspec.Raw, _: Progress) -> dict[str, Any]:
        options = decode(data, PingRequest | None)  # type: ignore[arg-type]
        return msgspec.to_builtins(await self.reply((options and options.options) or PingOptions()))  # type: ignore[no-any-return]

    async def reply(self, options: PingOptions) -> PingReply:
        if not self._settings.ping_enabled or not self._settings.docker_enabled:
            return PingReply()
        reply = PingReply()
        if options.resources:
            reply.resources += await self._resources(with_stats=options.stats)
        if options.instances and self._index_complete():
            reply.resources.append(HostUuidElement(uuid=self._identity.docker_uuid))
            reply.resources += [
                _instance(entry) for entry in self._index if entry.started_once and LABEL_AGENT_TASK not in entry.labels
            ]
            reply.options.instances = True
        return reply

    async def _resources(self, *, with_stats: bool) -> list[PingElement]:
        identity, settings = self._identity, self._settings
        host = HostElement(
            uuid=identity.docker_uuid,
            hostname=self._hostname,
            physical_host_uuid=identity.physical_host_uuid,
            labels={
                **host_facts.host_labels(self._info, agent_image=settings.agent_image),
                **self._cloud_labels(),
            },
            create_labels=settings.create_labels,
            api_proxy=settings.host_api_proxy,
            memory=settings.memory_override,
            milli_cpu=settings.milli_cpu_override,
            local_storage_mb=settings.local_storage_mb_override or host_facts.free_storage_mb(settings.state_dir),
            docker_engine_id=engine_identity(self._info) or None,
            machine_fingerprint=identity.fingerprint or None,
        )
        if with_stats:
            info = await self._host_info()
            host.info = info
            host.memory = host.memory or info["memoryInfo"].get("memTotal", 0) * host_facts.MIB
            host.milli_cpu = host.milli_cpu or info["cpuInfo"]["count"] * 1000
        elements: list[PingElement] = [
            PhysicalHostElement(uuid=identity.physical_host_uuid, name=self._hostname),
            host,
            StoragePoolElement(
                uuid=f"{identity.docker_uuid}-pool",
                name=f"{self._hostname} Storage Pool",
                host_uuid=identity.docker_uuid,
            ),
        ]
        if address := self._host_ip:
            elements.append(IpAddressElement(uuid=address, addresss=address, host_uuid=identity.docker_uuid))
        return elements

    async def _host_info(self) -> dict[str, Any]:
        return {
            "cpuInfo": host_facts.cpu_info(await self._cpu.percentages()),
            "memoryInfo": host_facts.memory_info(),
            "diskInfo": host_facts.disk_info(self._info),
            "osInfo": host_facts.os_info(self._info, self._version),
            "iopsInfo": {},
            "hostKey": {"data": self._host_key},
            "cloudProvider": None,
            "dockerEngineId": engine_identity(self._info),
            "machineFingerprint": self._identity.fingerprint or None,
        }


def _instance(entry: ContainerEntry) -> InstanceElement:
    state: Literal["running", "stopped"] = "running" if entry.running else "stopped"
    return InstanceElement(
        uuid=entry.uuid,
        state=state,
        docker_id=entry.id,
        image=entry.image,
        labels=dict(entry.labels),
        created=entry.created,
    )
