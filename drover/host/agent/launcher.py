"""The two lives of the agent's container.

The container that a user starts with the registration command registers the host, launches the permanent
container `rancher-agent` from the same image, and ends. As a plain process there is nothing to launch.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, JsonObject
from drover.host.agent.errors import AgentError
from drover.host.agent.index import AGENT_CONTAINER
from drover.host.agent.registration import Credentials, check_reachable_by_containers
from drover.host.agent.settings import PASSED_TO_AGENT_CONTAINER, AgentSettings

log = structlog.get_logger(__name__)

MOUNTINFO = Path("/proc/self/mountinfo")
RANCHER_FOLDER = "/var/lib/rancher"
STOP_GRACE = 10
SETTLE_SECONDS = 2.0

_CONTAINER_ID = re.compile(r"/containers/([0-9a-f]{64})/")


async def own_container(engine: Engine, *, mountinfo: Path = MOUNTINFO) -> JsonObject | None:
    """The inspect of the container this process runs in; None outside, or in one of another engine."""
    match = _CONTAINER_ID.search(_read(mountinfo))
    if match is None:
        return None
    try:
        return await engine.inspect_container(match.group(1))
    except DockerError as error:
        if error.status == 404:
            return None
        raise


async def registration_container(engine: Engine, settings: AgentSettings) -> JsonObject | None:
    """This process's container, if it is the short-lived one whose task is to launch the agent."""
    if not settings.registration_url:
        return None
    own = await own_container(engine)
    if own is None or str(own.get("Name") or "").lstrip("/") == AGENT_CONTAINER:
        return None
    check_reachable_by_containers(settings.registration_url)
    return own


async def launch_agent_container(
    engine: Engine, own: JsonObject, credentials: Credentials, *, environ: Mapping[str, str] | None = None
) -> str:
    """Replaces the permanent container by one with these keys; returns its id.

    The old one is kept aside until the new one runs, and comes back when it does not. Raises AgentError.
    """
    body = agent_container(own, credentials, environ=os.environ if environ is None else environ)
    previous = await _set_aside(engine)
    container: str | None = None
    try:
        container = await engine.create_container(AGENT_CONTAINER, body)
        await engine.start_container(container)
        await asyncio.sleep(SETTLE_SECONDS)
        state = (await engine.inspect_container(container)).get("State") or {}
        if state.get("Restarting") or not state.get("Running"):
            raise AgentError(f"The agent container ended at once (exit code {state.get('ExitCode')})")
    except (DockerError, AgentError) as error:
        if container is not None:
            await engine.remove_container(container, force=True)
        if previous is not None:
            await engine.rename_container(previous, AGENT_CONTAINER)
            await engine.start_container(previous)
        text = error.message if isinstance(error, DockerError) else str(error)
        raise AgentError(f"The agent container could not be started: {text}") from error
    if previous is not None:
        await engine.remove_container(previous, force=True)
    log.info("agent.launched", container=container, image=body["Image"])
    return container


def agent_container(own: Mapping[str, Any], credentials: Credentials, *, environ: Mapping[str, str]) -> JsonObject:
    """The create call of the permanent container: sees the host's network, processes and devices."""
    image = str((own.get("Config") or {}).get("Image") or "")
    environment = {name: environ[name] for name in PASSED_TO_AGENT_CONTAINER if environ.get(name)}
    environment |= {
        "CATTLE_AGENT_PIDNS": "host",
        "CATTLE_URL": credentials.url,
        "CATTLE_ACCESS_KEY": credentials.access_key,
        "CATTLE_SECRET_KEY": credentials.secret_key,
        "CATTLE_STATE_DIR": f"{RANCHER_FOLDER}/state",
        "RANCHER_AGENT_IMAGE": image,
    }
    if credentials.detected_ip:
        environment.setdefault("CATTLE_AGENT_IP", credentials.detected_ip)
    return {
        "Image": image,
        "Cmd": ["agent"],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {"io.rancher.container.system": AGENT_CONTAINER},
        "HostConfig": {
            "RestartPolicy": {"Name": "always"},
            "NetworkMode": "host",
            "PidMode": "host",
            "Privileged": True,
            "OomScoreAdj": -500,
            "Binds": [
                f"{_mounted_from(own, '/var/run/docker.sock')}:/var/run/docker.sock",
                "/var/run/rancher/storage:/var/run/rancher/storage",
                "/lib/modules:/lib/modules:ro",
                "/proc:/host/proc",
                "/dev:/host/dev",
                "rancher-agent-state:/var/lib/cattle",
                f"{_state_source(own)}:{RANCHER_FOLDER}",
            ],
        },
    }


async def _set_aside(engine: Engine) -> str | None:
    """Stops the present agent and frees its name; returns its id."""
    try:
        present = await engine.inspect_container(AGENT_CONTAINER)
    except DockerError as error:
        if error.status == 404:
            return None
        raise
    container = str(present["Id"])
    # A rename keeps it findable by hand should this process die now; the restart policy brings it back.
    await engine.rename_container(container, f"{AGENT_CONTAINER}-{container[:12]}")
    await engine.stop_container(container, grace=STOP_GRACE)
    return container


def _mounted_from(own: Mapping[str, Any], target: str) -> str:
    """Where on the host a mount of this container comes from."""
    for mount in own.get("Mounts") or ():
        if mount.get("Destination") == target and mount.get("Source"):
            return str(mount["Source"])
    return target


def _state_source(own: Mapping[str, Any]) -> str:
    """The host's folder, or a named volume on hosts whose root is read-only."""
    for mount in own.get("Mounts") or ():
        if mount.get("Destination") == RANCHER_FOLDER and mount.get("RW", True):
            return str(mount.get("Source") or RANCHER_FOLDER)
    return "rancher-agent-state"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
