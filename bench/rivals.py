"""Three ways to run the same containers on one engine: Drover, the engine's API without anything, Docker Swarm.

Each is told to bring up so many containers and to take them down again. What is measured is the engine's own report
of the starts, so nobody's clock or polling counts.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bench.api import Api
from bench.docker_api import DockerApi

COMMAND = ["/usr/bin/sleep", "86400"]
_GONE_SECONDS = 120.0


class Rival(Protocol):
    """``label`` finds its containers, and nobody else's."""

    @property
    def label(self) -> str: ...

    async def scale_up(self, count: int) -> None:
        """Ask for ``count`` containers; may return before they run."""

    async def scale_down(self) -> None:
        """Take all of them away, and return when they are gone."""


@dataclass(frozen=True, slots=True)
class Drover:
    """A service, scaled through the API."""

    api: Api
    docker: DockerApi
    service: str
    label: str

    @classmethod
    async def create(cls, api: Api, docker: DockerApi, image: str) -> Drover:
        launch = {"imageUuid": f"docker:{image}", "networkMode": "bridge", "command": COMMAND}
        service = await api.create_service("bench", 1, launchConfig=launch)
        return cls(api, docker, service, "io.rancher.stack_service.name=stack-bench/bench")

    async def scale_up(self, count: int) -> None:
        await self.api.put(f"services/{self.service}", {"scale": count})

    async def scale_down(self) -> None:
        await self.api.put(f"services/{self.service}", {"scale": 0})
        await self.docker.until_gone(self.label, _GONE_SECONDS)
        await self.settled()

    async def settled(self) -> None:
        await self.api.until_service(self.service, "active", timeout=60.0)


@dataclass(frozen=True, slots=True)
class Raw:
    """Create and start, ``concurrency`` containers at a time, each with the body that Drover's agent sent."""

    docker: DockerApi
    body: Mapping[str, Any]
    concurrency: int
    label: str = "drover.bench=raw"

    async def scale_up(self, count: int) -> None:
        slots = asyncio.Semaphore(self.concurrency)
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(self._run(slots))

    async def scale_down(self) -> None:
        slots = asyncio.Semaphore(self.concurrency)
        async with asyncio.TaskGroup() as group:
            for container in await self.docker.containers(self.label, all_states=True):
                group.create_task(self._remove(slots, container))
        await self.docker.until_gone(self.label, _GONE_SECONDS)

    async def _run(self, slots: asyncio.Semaphore) -> None:
        async with slots:
            created = await self.docker.call(
                "POST", "containers/create", self.body, name=f"bench-{uuid.uuid4().hex[:12]}"
            )
            await self.docker.call("POST", f"containers/{created['Id']}/start")

    async def _remove(self, slots: asyncio.Semaphore, container: str) -> None:
        async with slots:
            await self.docker.call("DELETE", f"containers/{container}", force="1")


@dataclass(frozen=True, slots=True)
class Swarm:
    """A service of a swarm that has this engine as its only node; containers are replaced without delay."""

    docker: DockerApi
    image: str
    address: str
    label: str = "drover.bench=swarm"

    async def join(self) -> None:
        body = {"ListenAddr": f"{self.address}:2377", "AdvertiseAddr": self.address}
        await self.docker.call("POST", "swarm/init", body)

    async def leave(self) -> None:
        await self.docker.call("POST", "swarm/leave", force="1")

    async def scale_up(self, count: int) -> None:
        await self.docker.call(
            "POST",
            "services/create",
            {
                "Name": "bench",
                "TaskTemplate": {
                    "ContainerSpec": {"Image": self.image, "Command": COMMAND, "Labels": {"drover.bench": "swarm"}},
                    "RestartPolicy": {"Condition": "any", "Delay": 0},
                },
                "Mode": {"Replicated": {"Replicas": count}},
            },
        )

    async def scale_down(self) -> None:
        await self.docker.call("DELETE", "services/bench")
        await self.docker.until_gone(self.label, _GONE_SECONDS)


async def raw_body(docker: DockerApi, container: str) -> dict[str, Any]:
    """A body of ``POST /containers/create`` that makes what ``container`` is, but for names, labels and addresses."""
    found = await docker.call("GET", f"containers/{container}/json")
    config = {name: value for name, value in found["Config"].items() if name not in ("Hostname", "Labels")}
    return {**config, "Labels": {"drover.bench": "raw"}, "HostConfig": found["HostConfig"]}
