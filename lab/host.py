"""One host of a running lab, as tests and demonstrations handle it."""

import signal
from collections.abc import Callable
from pathlib import Path

import aiodocker

from lab import network, processes, programs
from lab.command import run
from lab.engine import start_dockerd, start_engine
from lab.errors import LabError
from lab.layout import HostLayout, LabLayout
from lab.machine import boot, on_host
from lab.record import LabRecord
from lab.teardown import end_host_processes

_STOP_TIMEOUT = 10.0


class LabHost:
    """Namespaces with a container engine, and with an agent once one was started."""

    def __init__(self, *, layout: LabLayout, record: LabRecord, name: str, address: str, save: Callable[[], None]):
        self.name = name
        self.address = address
        self._lab = layout
        self._layout: HostLayout = layout.host(name)
        self._record = record
        self._save = save

    @property
    def docker_socket(self) -> Path:
        return self._layout.docker_socket

    @property
    def state_dir(self) -> Path:
        """Where the agent keeps its identity; survives the agent and `power_off`."""
        return self._layout.agent_state

    @property
    def log_dir(self) -> Path:
        """Holds `agent.log`, `dockerd.log` and `containerd.log`."""
        return self._layout.run

    async def docker(self) -> aiodocker.Docker:
        """A client of this host's engine; the caller closes it: `async with await host.docker() as docker:`."""
        return aiodocker.Docker(url=f"unix://{self.docker_socket}")

    def command(self, *argv: str) -> tuple[str, ...]:
        """The command line that runs a program on the host, for those who keep it running."""
        return on_host(self._layout, *argv)

    async def run(self, *argv: str, timeout: float = 30.0) -> str:
        """Run a program on the host and return what it printed; `LabError` if it fails."""
        return await run(*self.command(*argv), timeout=timeout)

    async def load_image(self, archive: Path) -> None:
        """Give the engine the images of an archive made by `docker save`."""
        await run(
            "docker", "-H", f"unix://{self.docker_socket}", "load", "--quiet", "--input", str(archive), timeout=180
        )

    async def start_agent(self, registration_url: str | None = None, *, timeout: float = 60.0) -> None:
        """Start the agent and wait until the server shows this host as active.

        Without a `registration_url` the host joins the default environment of the lab's own server.
        """
        if self._record.find(self._role("agent")):
            raise LabError(f"{self.name}: its agent is running; stop it first")
        url = registration_url or await programs.registration_url(self._record.server_url)
        agent = programs.start_agent(self._layout, self.address, url, tag=self._lab.tag)
        self._remember(agent)
        if registration_url is None:
            await programs.wait_for_hosts(self._record.server_url, [self.name], timeout)

    async def stop_agent(self) -> None:
        """Ask the agent to end (SIGTERM) and wait for it; an error if it does not."""
        await self._end("agent", signal.SIGTERM)

    async def kill_agent(self) -> None:
        """End the agent without a chance to say goodbye (SIGKILL)."""
        await self._end("agent", signal.SIGKILL)

    async def kill_engine(self) -> None:
        """End dockerd (SIGKILL); containerd and the containers run on, as they do on any machine."""
        await self._end("dockerd", signal.SIGKILL)

    async def start_engine(self) -> None:
        """Start dockerd again."""
        await start_dockerd(self._layout, tag=self._lab.tag, registry=self._record.registry, remember=self._remember)

    async def cut_network(self) -> None:
        """Pull the host's cable: nothing arrives, nothing is refused."""
        await network.set_cable(self._lab, self._layout, connected=False)

    async def restore_network(self) -> None:
        await network.set_cable(self._lab, self._layout, connected=True)

    async def power_off(self) -> None:
        """Kill everything on the host at once: agent, engine, containers. Disks stay as they are."""
        await end_host_processes(self._lab, self.name)

    async def power_on(self) -> None:
        """Boot the host and start its engine; the agent is up to the caller."""
        await boot(self._lab, self._layout)
        await start_engine(self._layout, tag=self._lab.tag, registry=self._record.registry, remember=self._remember)

    def _role(self, program: str) -> str:
        return f"{self.name}/{program}"

    def _remember(self, process: processes.ProcessRecord) -> None:
        self._record.remember(process)
        self._save()

    async def _end(self, program: str, with_signal: signal.Signals) -> None:
        process = self._record.find(self._role(program))
        if process is None:
            return
        if await processes.end([process.pid], with_signal=with_signal, timeout=_STOP_TIMEOUT):
            raise LabError(f"{self.name}: {program} (pid {process.pid}) is still there {_STOP_TIMEOUT:g} s later")
