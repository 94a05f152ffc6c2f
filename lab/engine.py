"""One host's container engine: its own containerd and dockerd inside the host's network namespace.

containerd is started by us even where the machine runs one: its shims and every container with host networking
would otherwise live in the machine's namespace instead of the host's.
"""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import msgspec

from lab.command import run
from lab.errors import LabError
from lab.layout import HostLayout
from lab.machine import on_host
from lab.processes import ProcessRecord, spawn

_CONTAINERD_CONFIG = """\
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{address}"
"""


def host_environment(host: HostLayout) -> dict[str, str]:
    """The environment of programs that run as if on the host: the machine's own, and the host's engine."""
    return {**os.environ, "DOCKER_HOST": f"unix://{host.docker_socket}"}


async def start_engine(
    host: HostLayout, *, tag: str, registry: str, remember: Callable[[ProcessRecord], None], timeout: float = 40.0
) -> None:
    """Start the host's engine and wait until it answers; `remember` is told of each process at once."""
    host.run.mkdir(parents=True, exist_ok=True)
    host.data.mkdir(parents=True, exist_ok=True)
    config = host.run / "containerd.toml"
    config.write_text(
        _CONTAINERD_CONFIG.format(
            root=host.data / "containerd", state=host.containerd_state, address=host.containerd_socket
        )
    )
    containerd = _daemon(host, "containerd", ("containerd", "--config", str(config)), tag)
    remember(containerd)
    await _wait(host, containerd, lambda: _socket_accepts(host.containerd_socket), timeout)
    await start_dockerd(host, tag=tag, registry=registry, remember=remember, timeout=timeout)


async def start_dockerd(
    host: HostLayout, *, tag: str, registry: str, remember: Callable[[ProcessRecord], None], timeout: float = 40.0
) -> None:
    """Start dockerd on a containerd that runs, and wait until it answers."""
    # Left by an engine that was killed; dockerd would refuse to start for a pid that means something else by now.
    (host.run / "docker.pid").unlink(missing_ok=True)
    await _configure_dockerd(host, registry)
    dockerd = _daemon(host, "dockerd", _dockerd(host), tag)
    remember(dockerd)
    await _wait(host, dockerd, lambda: _engine_answers(host.docker_socket), timeout)


async def _configure_dockerd(host: HostLayout, registry: str) -> None:
    """Write the host's own daemon.json; without one dockerd would read the machine's."""
    config: dict[str, object] = {"insecure-registries": [registry]}
    version = re.search(r"version (\d+)", await run("dockerd", "--version"))
    if version and int(version[1]) < 23:
        # Up to this version an engine's id is a key in /etc/docker: all hosts of the lab would be the same one.
        config["deprecated-key-path"] = str(host.data / "docker-key.json")
    _dockerd_config(host).write_bytes(msgspec.json.encode(config))


def _dockerd_config(host: HostLayout) -> Path:
    return host.run / "docker.json"


def _dockerd(host: HostLayout) -> tuple[str, ...]:
    return (
        "dockerd",
        f"--config-file={_dockerd_config(host)}",
        f"--containerd={host.containerd_socket}",
        "--host=unix:///run/docker.sock",
        f"--data-root={host.data / 'docker'}",
        f"--exec-root={host.run / 'exec'}",
        f"--pidfile={host.run / 'docker.pid'}",
        f"--cgroup-parent=/{host.cgroup}",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--log-level=warn",
    )


def _daemon(host: HostLayout, program: str, argv: tuple[str, ...], tag: str) -> ProcessRecord:
    # An engine must not find the socket that its own clients are pointed to.
    environment = {key: value for key, value in os.environ.items() if key not in {"DOCKER_HOST", "DOCKER_CONTEXT"}}
    return spawn(
        on_host(host, *argv),
        role=f"{host.name}/{program}",
        tag=tag,
        log=host.run / f"{program}.log",
        environment=environment,
    )


async def _wait(host: HostLayout, process: ProcessRecord, ready: Callable[[], Awaitable[bool]], timeout: float) -> None:
    program = process.role.rpartition("/")[2]
    log = host.run / f"{program}.log"
    deadline = time.monotonic() + timeout
    while True:
        if await ready():
            return
        if not process.alive():
            raise LabError(f"{program} of {host.name} ended at once; its last words: {tail(log)}")
        if time.monotonic() > deadline:
            raise LabError(f"{program} of {host.name} does not answer after {timeout:g} s; its log: {log}: {tail(log)}")
        await asyncio.sleep(0.05)


async def _socket_accepts(socket: Path) -> bool:
    try:
        _reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _engine_answers(socket: Path) -> bool:
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.get("http://docker/_ping") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for error messages."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
