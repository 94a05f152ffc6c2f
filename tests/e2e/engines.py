"""What really runs: the containers of every host, as its own engine tells, past Drover."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiodocker
from aiodocker.exceptions import DockerError

from lab import LabHost

UUID = "io.rancher.container.uuid"
NAME = "io.rancher.container.name"
STACK = "io.rancher.stack.name"
SERVICE = "io.rancher.stack_service.name"
UNIT = "io.rancher.service.deployment.unit"


@dataclass(frozen=True, slots=True)
class EngineContainer:
    """One container, running or not; `details` is what `docker inspect` shows."""

    host: str
    id: str
    details: dict[str, Any]

    @property
    def docker_name(self) -> str:
        return str(self.details["Name"]).removeprefix("/")

    @property
    def labels(self) -> dict[str, str]:
        return self.details["Config"]["Labels"] or {}

    @property
    def name(self) -> str:
        """The name that Drover gave, e.g. `shop-web-1`."""
        return self.labels.get(NAME, self.docker_name)

    @property
    def uuid(self) -> str:
        return self.labels.get(UUID, "")

    @property
    def service(self) -> str:
        """`stack/service`, as the label has it."""
        return self.labels.get(SERVICE, "")

    @property
    def index(self) -> int:
        found = re.search(r"-(\d+)$", self.name)
        assert found is not None, f"{self.name} has no index"
        return int(found[1])

    @property
    def running(self) -> bool:
        return bool(self.details["State"]["Running"])

    @property
    def pid(self) -> int:
        """Of its first process, as the machine counts; 0 when it does not run."""
        return int(self.details["State"]["Pid"])

    @property
    def started_at(self) -> str:
        return str(self.details["State"]["StartedAt"])

    @property
    def host_config(self) -> dict[str, Any]:
        return dict(self.details["HostConfig"])

    @property
    def identity(self) -> tuple[str, str, str]:
        """Changes when the container is replaced or restarted."""
        return (self.name, self.id, self.started_at)

    def __str__(self) -> str:
        state = self.details["State"]["Status"]
        return f"{self.host} {self.docker_name} {self.id[:12]} {state} uuid={self.uuid} started={self.started_at}"


class Engines:
    """The engines of some hosts; use as an async context manager."""

    def __init__(self, hosts: Sequence[LabHost]) -> None:
        self._hosts = hosts
        self._clients: dict[str, aiodocker.Docker] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Engines":
        for host in self._hosts:
            self._clients[host.name] = await self._stack.enter_async_context(await host.docker())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def on(self, host: str) -> aiodocker.Docker:
        return self._clients[host]

    async def containers(self, *, stack: str | None = None) -> list[EngineContainer]:
        """All containers of all hosts, also stopped ones, by name; only those of a stack if one is given."""
        found = await asyncio.gather(*(self._of(host, client) for host, client in self._clients.items()))
        everything = [each for of_host in found for each in of_host]
        chosen = [each for each in everything if stack is None or each.labels.get(STACK) == stack]
        return sorted(chosen, key=lambda each: (each.service, len(each.name), each.name))

    async def _of(self, host: str, client: aiodocker.Docker) -> list[EngineContainer]:
        found = []
        for listed in await client.containers.list(all=True):
            try:
                found.append(EngineContainer(host=host, id=listed.id, details=await listed.show()))
            except DockerError as gone:
                if gone.status != 404:
                    raise
        return found

    async def kill(self, container: EngineContainer) -> None:
        """`docker kill`."""
        await self.on(container.host).containers.container(container.id).kill()

    async def remove(self, container: EngineContainer) -> None:
        """`docker rm -f`."""
        await self.on(container.host).containers.container(container.id).delete(force=True)

    async def run_native(self, host: str, *, name: str, image: str, command: list[str]) -> str:
        """`docker run -d --name`: a container that Drover did not ask for; returns its id."""
        client = self.on(host)
        await client.images.pull(image)
        container = await client.containers.run({"Image": image, "Cmd": command}, name=name)
        return str(container.id)
