"""`drover hosts-file`: keeps a container's hosts file current, for programs that do not ask a name server.

It lists this container and the hosts of the environment, as Rancher 1.6's etc-host-updater did; on request also the
services and containers of the own stack, as an alternative to the DNS service.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from drover.client.world import Container, World
from drover.client.world.follow import follow
from drover.common.lifetime import run_until_stopped
from drover.common.settings import setting
from drover.common.together import together
from drover.host.dns.directory import Directory
from drover.host.dns.records import ZONE, pack_address
from drover.host.dns.view import Shared

log = structlog.get_logger(__name__)

LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}\Z")
"""What may stand in the file; anything else could bring lines of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsFileSettings:
    """Which file, from where, and how much of the environment goes into it."""

    metadata_address: str = setting(
        default="169.254.169.250", env=("METADATA_ADDRESS",), help="Host (or address) of the metadata service."
    )
    file: Path = setting(default=Path("/etc/hosts"), help="The file that is written.")
    services: bool = setting(
        default=False, help="Write the names of the own stack's services and containers too, instead of asking DNS."
    )
    update_interval: float = setting(
        default=5.0, help="Seconds between two writes at least; changes meanwhile go into the next one."
    )


async def run_hosts_file(settings: HostsFileSettings) -> None:
    """Write after each change of the environment until SIGTERM; the file stays as it was last."""
    await run_until_stopped(HostsFile(settings).run())


class HostsFile:
    """Follows the environment and writes. ``run`` ends by cancellation only."""

    def __init__(self, settings: HostsFileSettings) -> None:
        self._settings = settings
        self._world = World()
        self._shared = Shared()
        self._directory = Directory(self._world, self._shared, metadata_answer=(settings.metadata_address,))
        self._changed = asyncio.Event()

    async def run(self) -> None:
        await together([self._follow(), self._write()])

    async def _follow(self) -> None:
        address = self._settings.metadata_address
        async with aclosing(follow(address if "://" in address else f"http://{address}", self._world)) as deltas:
            async for delta in deltas:
                self._directory.apply(delta)
                self._changed.set()

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            own = own_address(self._settings.metadata_address)
            text = render(self._world, self._shared, own=own, hostname=os.uname().nodename, **self._options())
            if await asyncio.to_thread(write, self._settings.file, text):
                log.info("hosts file written", path=str(self._settings.file), lines=text.count("\n"))
            await asyncio.sleep(self._settings.update_interval)

    def _options(self) -> dict[str, bool]:
        return {"services": self._settings.services}


def render(world: World, shared: Shared, *, own: str | None, hostname: str, services: bool) -> str:
    """The file's text. ``own`` is this container's address; without one its own line is left out."""
    lines: list[tuple[str, str]] = [(own, hostname)] if own else []
    taken = {hostname.lower()}
    for host in world.hosts.values():
        name = host.hostname or ""
        if pack_address(host.agent_ip) and _NAME.match(name) and name.lower() not in taken:
            taken.add(name.lower())
            lines.append((str(host.agent_ip), name))
    if services:
        lines += _stack_lines(world, shared, own)
    return LOCAL + "".join(f"{address}\t{names}\n" for address, names in lines)


def _stack_lines(world: World, shared: Shared, own: str | None) -> Iterator[tuple[str, str]]:
    """Every name of the own stack with each of its addresses, shortest form first."""
    stack = _own_stack(world, own)
    if stack is None:
        return
    suffix = f".{stack}.{ZONE}"
    for name in sorted(each for each in shared.records if each.endswith(suffix) and _NAME.match(each)):
        forms = f"{name.removesuffix(suffix)} {name.removesuffix('.' + ZONE)} {name.rstrip('.')}"
        yield from ((address, forms) for address in shared.records[name].texts_of_addresses)
    members = (each for each in world.containers.values() if stack in set(_stacks(world, each)))
    for name in sorted({f"{each.name.lower()}.{ZONE}" for each in members if each.name and _NAME.match(each.name)}):
        if (found := shared.records.get(name)) is not None:
            forms = f"{name.removesuffix('.' + ZONE)} {name.rstrip('.')}"
            yield from ((address, forms) for address in found.texts_of_addresses)


def _own_stack(world: World, own: str | None) -> str | None:
    here = (each for each in world.containers.values() if own and each.primary_ip == own)
    mine = (each for each in here if each.host_uuid == world.host or world.host is None)
    return next((stack for each in mine for stack in _stacks(world, each)), None)


def _stacks(world: World, container: Container) -> Iterable[str]:
    for each in container.memberships:
        service = world.services.get(f"{each.service_uuid}_{each.service_name}".lower())
        if service is not None and service.stack_name:
            yield service.stack_name.lower()


def own_address(metadata: str) -> str | None:
    """The address that this container speaks to the metadata service from; nothing is sent to find out."""
    host = metadata.partition("://")[2] or metadata
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host.partition("/")[0].partition(":")[0], 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def write(path: Path, text: str) -> bool:
    """Replace the content, in place: in a container the file is a mount, which nothing can be moved over. Returns
    whether it was another one.
    """
    if path.exists() and path.read_text(errors="replace") == text:
        return False
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()
    return True
