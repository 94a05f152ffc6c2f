"""An environment with infrastructure stacks: its network, its names and its health, seen from inside containers."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from drover.client.api import ApiClient
from drover.client.resource import Resource
from lab import Lab, LabHost
from lab.programs import registration_url
from tests.e2e.cluster import Cluster
from tests.e2e.command import Command
from tests.e2e.engines import EngineContainer, Engines
from tests.e2e.waiting import eventually

GLOBAL = {"labels": {"io.rancher.scheduler.global": "true"}}
"""Fields of a service with a container on every host."""

INFRASTRUCTURE_SECONDS = 300.0
"""How long a new environment may take until its network carries traffic on every host."""


class Plane(Cluster):
    """One environment of the lab made from an environment template, with hosts of its own."""

    def __init__(self, lab: Lab, api: ApiClient, engines: Engines, folder: Path, url: str, hosts: Sequence[LabHost]):
        super().__init__(lab, api, engines, folder)
        self.drover = Command(url, folder)
        self.url = url
        self.hosts = list(hosts)

    async def join(self, host: LabHost) -> None:
        """Start the host's agent in this environment."""
        await host.start_agent(await registration_url(self.lab.server_url, environment=self.url))

    async def until_ready(self, timeout: float = INFRASTRUCTURE_SECONDS) -> None:
        """Wait until every infrastructure service is healthy on every host."""
        await eventually(
            self.unready, lambda found: not found, what="the infrastructure stacks are healthy", timeout=timeout
        )

    async def unready(self) -> list[str]:
        """What is still missing, one line each."""
        hosts = [each for each in await self.api.list("host") if each.state == "active"]
        stacks = {each.id: each for each in await self.api.list("stack", {"system": True, "removed_null": 1})}
        services = [each for each in await self.api.list("service", {"removed_null": 1}) if each["stackId"] in stacks]
        lines = [] if len(hosts) == len(self.hosts) else [f"{len(hosts)} of {len(self.hosts)} hosts are active"]
        lines += [] if stacks else ["there are no infrastructure stacks"]
        for service in services:
            health = service.get("healthState")
            if service.state != "active" or health not in ("healthy", "started-once"):
                name = f"{stacks[service['stackId']].text('name')}/{service.text('name')}"
                lines.append(f"{name} {service.state} {health} {service.transitioning_message}")
        for container in await self.infrastructure():
            if container.state != "running" or container.get("healthState") not in (None, "", "healthy"):
                lines.append(
                    f"{container.text('name')} {container.state} {container.get('healthState')} "
                    f"{container.transitioning_message}"
                )
        return lines

    async def infrastructure(self) -> list[Resource]:
        """The containers of the infrastructure stacks."""
        return [each for each in await self.api.list("container", {"removed_null": 1}) if each.get("system")]

    async def system_container(self, host: str, service: str) -> EngineContainer:
        """The container of `stack/service` (or `stack/service/sidekick`) on a host."""
        for each in await self.engines.containers():
            label = each.labels.get("io.rancher.project_service.name") or each.labels.get(
                "io.rancher.stack_service.name"
            )
            if each.host == host and label == service and each.running:
                return each
        raise AssertionError(f"no container of {service} runs on {host}")

    async def sh(self, container: EngineContainer, script: str, *, timeout: float = 60.0) -> str:
        """What a shell script prints inside a container; fails when the script fails."""
        return await self.host(container.host).run("docker", "exec", container.id, "sh", "-c", script, timeout=timeout)

    async def addresses(self, path: str) -> dict[str, str]:
        """Address of each container of a service, by container name."""
        known = {each.text("name"): each.text("primaryIpAddress") for each in await self.known(path.partition("/")[0])}
        return {each.name: known[each.name] for each in await self.of_service(path)}

    async def remove_stacks(self) -> None:
        """Remove what a test deployed; the infrastructure stays."""
        for stack in await self.api.list("stack", {"removed_null": 1}):
            if not stack.get("system"):
                await self.drover("rm", "--type", "stack", "-y", "-w", stack.id, timeout=180)
        await eventually(self._deployed, lambda found: not found, what="only infrastructure is left on the engines")

    async def _deployed(self) -> list[EngineContainer]:
        system = {each.text("uuid") for each in await self.infrastructure()}
        return [each for each in await self.engines.containers() if each.uuid and each.uuid not in system]


async def create_plane(
    lab: Lab, hosts: Sequence[LabHost], engines: Engines, folder: Path, *, template: str, name: str
) -> tuple[Plane, ApiClient]:
    """Make an environment from a template, join the hosts, and wait until its infrastructure is healthy.

    The caller closes the returned client.
    """
    async with ApiClient(lab.server_url) as root:
        (found,) = await root.unscoped().list("projectTemplate", {"name": template})
        project = await root.unscoped().create("project", {"name": name, "projectTemplateId": found.id})
    return await open_plane(lab, hosts, engines, folder, url=f"{lab.server_url}/v2-beta/projects/{project.id}")


async def open_plane(
    lab: Lab, hosts: Sequence[LabHost], engines: Engines, folder: Path, *, url: str
) -> tuple[Plane, ApiClient]:
    """Join the hosts to an environment, and wait until its infrastructure is healthy.

    The caller closes the returned client.
    """
    api = await ApiClient(url).__aenter__()
    plane = Plane(lab, api, engines, folder, url, hosts)
    async with asyncio.TaskGroup() as tasks:
        for host in hosts:
            tasks.create_task(plane.join(host))
    await plane.until_ready()
    return plane, api
