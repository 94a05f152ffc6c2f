"""A lab: several hosts, a registry and, on request, a Drover server with agents.

async with Lab(hosts=3, server=True, agents=True) as lab:
    await lab.hosts[0].cut_network()
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import network, processes, programs, record
from lab.errors import LabError
from lab.host import LabHost
from lab.images.build import BuiltImage, build_image
from lab.images.catalog import LAB_IMAGES, PACKAGES
from lab.images.drover import drover_archive
from lab.images.sysroot import prepare_sysroot
from lab.layout import LabLayout
from lab.registry import image_reference, push, start_registry
from lab.teardown import remove_lab

_REGISTRY_PORT = 5000
_SERVER_PORT = 8080
_MOST_HOSTS = 200
_PROGRAMS = ("ip", "nsenter", "unshare", "dockerd", "containerd", "docker-registry", "apt-get", "dpkg-deb")


class Lab:
    """One lab by name. Use it as a context manager, or call `up` and `down`; `attach` finds one that is running.

    `server` starts a Drover server on the machine's address in the lab, with access control off and SQLite;
    `agents` joins every host to it. `drover_image` builds the Drover image of this checkout and loads it on every host,
    which the infrastructure stacks need. `server_options` are further arguments of `drover server`.
    """

    def __init__(
        self,
        *,
        hosts: int = 3,
        server: bool = False,
        agents: bool = False,
        drover_image: bool = False,
        name: str = "lab",
        server_options: Sequence[str] = (),
        server_variables: Mapping[str, str] | None = None,
    ) -> None:
        if not 0 <= hosts <= _MOST_HOSTS:
            raise LabError(f"a lab has 0 to {_MOST_HOSTS} hosts, not {hosts}")
        if agents and not server:
            raise LabError("agents need a server to join: ask for the server too")
        self.layout = LabLayout.of(name)
        self.hosts: list[LabHost] = []
        self._host_count = hosts
        self._with_server = server
        self._with_agents = agents
        self._with_image = drover_image
        self._server_options = tuple(server_options)
        self._server_variables = dict(server_variables or {})
        self._owned = False
        self._record: record.LabRecord | None = None

    @classmethod
    def attach(cls, name: str = "lab") -> Self:
        """The lab that another process started."""
        lab = cls(hosts=0, name=name)
        known = record.read(lab.layout.record)
        if known is None:
            raise LabError(f"no lab {name!r} is up; start one with `python -m lab up --name {name}`")
        lab._take(known)
        return lab

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def server_url(self) -> str:
        """The server's address without a path, e.g. http://10.213.0.1:8080."""
        return self._known.server_url

    @property
    def registry(self) -> str:
        """host:port of the registry, as image references begin."""
        return self._known.registry

    @property
    def gateway(self) -> str:
        """The machine's own address in the lab's network."""
        return self._known.gateway

    @property
    def server_log(self) -> Path:
        return self.layout.run / "server.log"

    def image(self, name: str) -> str:
        """Full reference of one of the lab's images: `lab.image("lab/web")`."""
        return image_reference(self.registry, name)

    async def __aenter__(self) -> Self:
        self._owned = True
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Start everything; whatever an earlier lab of this name left is removed first. All or nothing."""
        check_machine()
        await remove_lab(self.layout)
        try:
            await self._start()
        except BaseException as error:
            await remove_lab(self.layout)
            error.add_note(f"The logs of the lab's programs: {self.layout.kept_logs}")
            raise

    async def down(self) -> None:
        """Remove every trace of the lab, in whatever state it is."""
        await remove_lab(self.layout)
        self._record = None
        self.hosts = []

    async def start_server(self) -> None:
        """Start the server, on the data of an earlier one if there was one, and wait until its API answers."""
        if self._known.find("server"):
            raise LabError("the lab's server is running; kill it first")
        address = self.server_url.removeprefix("http://")
        server = programs.start_server(self.layout, address, self._server_options, self._server_variables)
        self._remember(server)
        await programs.wait_for_server(self.server_url, server, self.server_log)

    async def kill_server(self) -> None:
        """End the server without a chance to clean up (SIGKILL)."""
        await self._end_server(signal.SIGKILL)

    async def stop_server(self) -> None:
        """Ask the server to end (SIGTERM) and wait for it."""
        await self._end_server(signal.SIGTERM)

    async def _start(self) -> None:
        self.layout.run.mkdir(parents=True)
        if self._owned:
            record.write_owner(self.layout.owner)
        self.layout.cache.mkdir(parents=True, exist_ok=True)
        subnet = await network.build_switch(self.layout)
        self._take(
            record.LabRecord(
                name=self.name,
                gateway=subnet.gateway,
                prefix_length=subnet.prefix_length,
                registry=f"{subnet.gateway}:{network.free_port(subnet.gateway, _REGISTRY_PORT)}",
                server_url=f"http://{subnet.gateway}:{network.free_port(subnet.gateway, _SERVER_PORT)}",
                hosts=[record.HostRecord(f"host{index + 1}", subnet.host(index)) for index in range(self._host_count)],
            )
        )
        self._save()
        archive = await drover_archive(self.layout.cache) if self._with_image else None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._start_registry())
            for host in self.hosts:
                tasks.create_task(self._start_host(host, subnet, archive))
            if self._with_server:
                tasks.create_task(self.start_server())
        if self._with_agents:
            async with asyncio.TaskGroup() as tasks:
                for host in self.hosts:
                    tasks.create_task(host.start_agent())

    async def _start_host(self, host: LabHost, subnet: network.Subnet, archive: Path | None) -> None:
        await network.plug_in(self.layout, self.layout.host(host.name), host.address, subnet)
        await host.power_on()
        if archive is not None:
            await host.load_image(archive)

    async def _start_registry(self) -> None:
        await start_registry(self.layout, self.registry, remember=self._remember)
        for image in await build_images(self.layout.cache):
            await push(image, self.registry)

    async def _end_server(self, with_signal: signal.Signals, timeout: float = 15.0) -> None:
        server = self._known.find("server")
        if server is None:
            return
        if await processes.end([server.pid], with_signal=with_signal, timeout=timeout):
            raise LabError(f"the server (pid {server.pid}) is still there after {timeout:g} s")

    @property
    def _known(self) -> record.LabRecord:
        if self._record is None:
            raise LabError(f"lab {self.name!r} is not up")
        return self._record

    def _take(self, known: record.LabRecord) -> None:
        self._record = known
        self.hosts = [
            LabHost(layout=self.layout, record=known, name=host.name, address=host.address, save=self._save)
            for host in known.hosts
        ]

    def _remember(self, process: processes.ProcessRecord) -> None:
        self._known.remember(process)
        self._save()

    def _save(self) -> None:
        record.write(self._known, self.layout.record)


async def remove_orphans() -> list[str]:
    """Remove the labs whose owner, the process that used them as a context manager, is gone; return their names."""
    removed = []
    for directory in sorted(LabLayout.of("any").run.parent.glob("*/")):
        layout = LabLayout.of(directory.name)
        owner = record.read_owner(layout.owner)
        if owner and not owner.alive():
            await remove_lab(layout)
            removed.append(layout.name)
    return removed


async def build_images(cache: Path) -> list[BuiltImage]:
    """The lab's images, from the cache where it has them."""
    sysroot = await prepare_sysroot(cache, PACKAGES)
    return [await build_image(spec, sysroot, cache) for spec in LAB_IMAGES]


def check_machine() -> None:
    """Say in one message what is missing before anything is touched."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and runs container engines: run it as root")
    if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
        raise LabError(f"missing programs: {', '.join(missing)}; `make lab-deps` installs them on Debian")
