"""Drover's own programs in the lab: the server on the machine, an agent on each host.

They run as plain processes of the checkout's virtual environment, so a test exercises the tree as it is, without an
image build in between.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from lab.engine import host_environment, tail
from lab.errors import LabError
from lab.layout import HostLayout, LabLayout
from lab.machine import on_host
from lab.processes import ProcessRecord, spawn

_TIMEOUT = aiohttp.ClientTimeout(total=10)


def drover_command() -> str:
    """The `drover` program next to the Python interpreter that runs us."""
    command = Path(sys.executable).with_name("drover")
    if not command.exists():
        raise LabError(f"{command} does not exist; `make venv` installs the project into .venv")
    return str(command)


def start_server(
    layout: LabLayout, address: str, options: Sequence[str], variables: Mapping[str, str]
) -> ProcessRecord:
    """Start the server on `address` (host:port) with its database in the lab's data directory; does not wait."""
    layout.server_data.mkdir(parents=True, exist_ok=True)
    argv = (
        drover_command(),
        "server",
        f"--listen={address}",
        "--auth=none",
        f"--data-dir={layout.server_data}",
        *options,
    )
    log = layout.run / "server.log"
    environment = {**_with_bytecode(os.environ), **variables}
    return spawn(argv, role="server", tag=layout.tag, log=log, environment=environment)


async def wait_for_server(url: str, process: ProcessRecord, log: Path, timeout: float = 30.0) -> None:
    """Return when the API answers."""
    deadline = time.monotonic() + timeout
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        while not await _api_answers(session, url):
            if not process.alive():
                raise LabError(f"the server ended at once; its last words: {tail(log)}")
            if time.monotonic() > deadline:
                raise LabError(f"{url} does not answer after {timeout:g} s; its log: {log}: {tail(log)}")
            await asyncio.sleep(0.05)


async def environment_url(server_url: str) -> str:
    """The API address of the default environment."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        projects = (await _call(session, "GET", f"{server_url}/v2-beta/projects"))["data"]
    if not projects:
        raise LabError(f"{server_url} has no environment")
    return f"{server_url}/v2-beta/projects/{projects[0]['id']}"


async def registration_url(server_url: str, timeout: float = 20.0, *, environment: str | None = None) -> str:
    """A registration token as the URL that an agent is started with; of the default environment, or of the one whose
    API address is given."""
    tokens = f"{environment or await environment_url(server_url)}/registrationtokens"
    deadline = time.monotonic() + timeout
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        token = await _call(session, "POST", tokens)
        while token["state"] != "active" or not token.get("registrationUrl"):
            if time.monotonic() > deadline:
                raise LabError(f"the registration token does not become active: {token}")
            await asyncio.sleep(0.1)
            token = await _call(session, "GET", f"{tokens}/{token['id']}")
    return str(token["registrationUrl"])


def start_agent(host: HostLayout, address: str, registration: str, *, tag: str) -> ProcessRecord:
    """Start the host's agent, which registers the host or, with its old state, resumes as the same one."""
    environment = {
        **_with_bytecode(host_environment(host)),
        "CATTLE_AGENT_IP": address,
        "CATTLE_HOSTNAME": host.name,
        # The machine may be a cloud's; its hosts are not.
        "CATTLE_DETECT_CLOUD_PROVIDER": "false",
    }
    return spawn(
        on_host(host, drover_command(), "agent", registration),
        role=f"{host.name}/agent",
        tag=tag,
        log=host.run / "agent.log",
        environment=environment,
    )


async def wait_for_hosts(server_url: str, names: Sequence[str], timeout: float = 60.0) -> None:
    """Return when the server shows all these hosts as active."""
    deadline = time.monotonic() + timeout
    url = f"{await environment_url(server_url)}/hosts"
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        while True:
            hosts = (await _call(session, "GET", url))["data"]
            active = {host["hostname"] for host in hosts if host["state"] == "active"}
            if active.issuperset(names):
                return
            if time.monotonic() > deadline:
                raise LabError(f"hosts {sorted(set(names) - active)} are not active after {timeout:g} s")
            await asyncio.sleep(0.1)


def _with_bytecode(environment: Mapping[str, str]) -> dict[str, str]:
    """Without Python's cache of compiled modules the programs take several times as long to start."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


async def _api_answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/v2-beta") as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


async def _call(session: aiohttp.ClientSession, method: str, url: str) -> dict[str, Any]:
    async with session.request(method, url, json={} if method == "POST" else None) as response:
        if response.status >= 400:
            raise LabError(f"{method} {url}: {response.status}: {await response.text()}")
        answer: dict[str, Any] = await response.json()
        return answer
