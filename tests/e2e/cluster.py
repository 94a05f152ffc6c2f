"""A running lab from a test's point of view: deploy, look from both sides, compare, clean up."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.resource import Resource
from lab import Lab, LabHost
from tests.e2e.command import Command, Finished
from tests.e2e.engines import EngineContainer, Engines
from tests.e2e.waiting import eventually

Services = Mapping[str, Mapping[str, Any]]
_LOG_LINES = 25


class Cluster:
    """Drover in the lab: its command line, its API, and the hosts' engines."""

    def __init__(self, lab: Lab, api: ApiClient, engines: Engines, folder: Path) -> None:
        self.lab = lab
        self.api = api
        self.engines = engines
        self.drover = Command(lab.server_url, folder)
        self._folder = folder

    def host(self, name: str) -> LabHost:
        return next(host for host in self.lab.hosts if host.name == name)

    # Deploying

    def shell(self, script: str = "exec sleep 100000", **fields: Any) -> dict[str, Any]:
        """A service that runs a shell script in the small image."""
        return {"image": self.lab.image("lab/shell"), "command": ["sh", "-c", script], **fields}

    def web(self, **fields: Any) -> dict[str, Any]:
        """A service that answers HTTP on port 80 with its container's hostname."""
        return {"image": self.lab.image("lab/web"), **fields}

    def write(self, name: str, services: Services) -> str:
        """A Compose file; returns its path."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            yaml.safe_dump({"version": "2", "services": {key: dict(each) for key, each in services.items()}})
        )
        return str(path)

    def up_arguments(self, stack: str, services: Services, scales: Mapping[str, int] | None = None) -> list[str]:
        compose = self.write(f"{stack}/docker-compose.yml", services)
        wanted = {name: {"scale": (scales or {}).get(name, 1)} for name in services}
        rancher = self.write(f"{stack}/rancher-compose.yml", wanted)
        return ["up", "-d", "-s", stack, "-f", compose, "--rancher-file", rancher]

    async def up(self, stack: str, services: Services, scales: Mapping[str, int] | None = None) -> Finished:
        """`drover up -d`, and wait until everything runs."""
        return await self.drover(*self.up_arguments(stack, services, scales), timeout=180)

    async def remove_stacks(self) -> None:
        """Remove whatever a test deployed, and wait until the engines have none of it."""
        for stack in await self.api.list("stack", {"removed_null": 1}):
            if not stack.get("system"):
                await self.drover("rm", "--type", "stack", "-y", "-w", stack.id, timeout=180)
        await eventually(
            self.engines.containers, lambda found: not found, what="the engines are empty after the clean-up"
        )

    # Looking

    async def stack(self, name: str) -> Resource:
        found = await self.api.find("stack", {"name": name, "removed_null": 1})
        assert found is not None, f"there is no stack {name}"
        return found

    async def service(self, path: str) -> Resource:
        """A service by `stack/service`."""
        stack, _, name = path.partition("/")
        wanted = {"name": name, "stackId": (await self.stack(stack)).id, "removed_null": 1}
        found = await self.api.find("service", wanted)
        assert found is not None, f"there is no service {path}"
        return found

    async def known(self, stack: str) -> list[Resource]:
        """The containers that the server shows for a stack."""
        return await self.api.list("container", {"stackId": (await self.stack(stack)).id, "removed_null": 1})

    async def container(self, name: str) -> Resource:
        found = await self.api.find("container", {"name": name, "removed_null": 1})
        assert found is not None, f"there is no container {name}"
        return found

    async def host_row(self, name: str) -> Resource:
        (found,) = [host for host in await self.api.list("host") if host.text("hostname") == name and not host.gone]
        return found

    async def on_engines(self, stack: str) -> list[EngineContainer]:
        return await self.engines.containers(stack=stack)

    async def of_service(self, path: str) -> list[EngineContainer]:
        """The engines' containers of `stack/service`, by index."""
        found = [each for each in await self.on_engines(path.partition("/")[0]) if each.service == path]
        return sorted(found, key=lambda each: each.index)

    async def until_running(self, path: str, number: int, *, timeout: float = 120.0) -> list[EngineContainer]:
        """Wait until exactly so many containers of a service exist on the engines and all of them run."""
        return await eventually(
            lambda: self.of_service(path),
            lambda found: len(found) == number and all(each.running for each in found),
            what=f"{number} running containers of {path} on the engines",
            timeout=timeout,
        )

    async def until_agreed(self, stack: str, *, timeout: float = 120.0) -> list[EngineContainer]:
        """Wait until server and engines tell the same story about a stack, and return it.

        That is: every container of the server runs, on the host that the server says, under the Docker id that it
        says, and exactly once; the engines have no others.
        """
        last = "nothing was compared"
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            known, real = await asyncio.gather(self.known(stack), self.on_engines(stack))
            differences = await self._differences(known, real)
            if not differences:
                return real
            last = "\n".join(differences)
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"server and engines do not agree about {stack} after {timeout:g} s:\n{last}")
            await asyncio.sleep(0.1)

    async def _differences(self, known: list[Resource], real: list[EngineContainer]) -> list[str]:
        hosts = {host.id: host.text("hostname") for host in await self.api.list("host")}
        differences = [f"{uuid} is {number} times on the engines" for uuid, number in _repeated(e.uuid for e in real)]
        differences += [f"{name} is {number} times on the engines" for name, number in _repeated(e.name for e in real)]
        by_uuid = {each.uuid: each for each in real}
        for container in known:
            found = by_uuid.pop(container.text("uuid"), None)
            if container.state != "running":
                differences.append(f"the server shows {container.label} as {container.state}")
            elif container.transitioning_message:
                differences.append(f"{container.label} runs but still says {container.transitioning_message!r}")
            elif found is None:
                differences.append(f"{container.label} is on no engine")
            elif not found.running:
                differences.append(f"the server shows {container.label} as running; in truth: {found}")
            elif (container.text("externalId"), hosts.get(container.text("hostId"))) != (found.id, found.host):
                differences.append(
                    f"the server shows {container.label} as {container.text('externalId')[:12]} "
                    f"on {hosts.get(container.text('hostId'))}; in truth: {found}"
                )
        return [*differences, *(f"the server knows nothing of {each}" for each in by_uuid.values())]

    async def describe(self) -> str:
        """Everything that helps to understand a failure."""
        lines = ["--- server"]
        try:
            for type_name in ("host", "stack", "service", "container"):
                for each in await self.api.list(type_name, {"removed_null": 1}):
                    detail = " ".join(
                        f"{key}={each.get(key)}"
                        for key in ("agentState", "healthState", "hostId", "primaryIpAddress", "externalId")
                        if each.get(key)
                    )
                    lines.append(f"{each.label} {each.state} {detail} {each.transitioning_message}")
        except ClientError as error:
            lines.append(f"the server does not answer: {error}")
        lines += ["--- engines", *(str(each) for each in await self.engines.containers())]
        logs = [self.lab.server_log, *(host.log_dir / "agent.log" for host in self.lab.hosts)]
        for log in logs:
            if log.exists():
                tail = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
                lines += [f"--- {log}", *tail]
        return "\n".join(lines)


def _repeated(values: Any) -> list[tuple[str, int]]:
    return [(value, number) for value, number in Counter(values).items() if number > 1]
