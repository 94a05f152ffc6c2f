"""Puts the wait program into the volume that containers on managed networks start from (Rancher 1.6's `rancher-cni`).

The agent may run in a container and cannot see the engine's volumes, so the file travels through the engine: a
container that is never started has the volume mounted, and the engine unpacks an archive into it. Its image is made
on the spot and holds nothing but the mount point, so no registry is asked.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import uuid
from pathlib import Path

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, ignoring_absence
from drover.host.agent.errors import AgentError
from drover.host.agent.parameters.names import LABEL_AGENT_TASK, WAIT_BIND, WAIT_PROGRAM

log = structlog.get_logger(__name__)

IMAGE = "drover/wait"
PLACES = (Path("/usr/lib/drover/r"), Path(__file__).parents[3] / ".state" / "wait" / "r")
"""Where the Drover image has it, and where `scripts/build-wait` leaves it in a checkout."""

_VOLUME, _FOLDER, *_ = WAIT_BIND.split(":")


class WaitProgram:
    """`path` None: the usual places."""

    def __init__(self, engine: Engine, path: Path | None = None) -> None:
        self._engine = engine
        self._places = (path,) if path else PLACES
        self._lock = asyncio.Lock()
        self._installed = False

    async def ensure(self) -> None:
        """Installs once. Raises AgentError or DockerError."""
        async with self._lock:
            if not self._installed:
                await self._install()
                self._installed = True

    async def reinstall(self) -> None:
        """The volume was removed, or its content."""
        self._installed = False
        await self.ensure()

    async def remove(self) -> None:
        """Takes the volume and the image of its installer back. Raises DockerError when something still uses them."""
        async with self._lock:
            self._installed = False
            await ignoring_absence(self._engine.remove_volume(_VOLUME))
            await ignoring_absence(self._engine.remove_image(IMAGE, force=False))

    async def _install(self) -> None:
        content = await asyncio.to_thread(self._read)
        await self._engine.create_volume(_VOLUME, driver="local", options={})
        await self._engine.import_image(_archive((), folder=_FOLDER.strip("/")), repository=IMAGE)
        body = {
            "Image": IMAGE,
            "Cmd": [WAIT_PROGRAM],
            "Labels": {LABEL_AGENT_TASK: "wait-program"},
            "HostConfig": {"Binds": [f"{_VOLUME}:{_FOLDER}"], "NetworkMode": "none"},
        }
        container = await self._engine.create_container(f"drover-wait-{uuid.uuid4().hex[:12]}", body)
        try:
            archive = _archive(((Path(WAIT_PROGRAM).name, content),))
            await self._engine.put_archive(container, folder=_FOLDER, archive=archive)
        finally:
            await self._engine.remove_container(container, force=True)
        log.info("wait.program.installed", volume=_VOLUME, size=len(content))

    def _read(self) -> bytes:
        for place in self._places:
            if place.is_file():
                return place.read_bytes()
        raise AgentError(
            f"the wait program is missing ({', '.join(map(str, self._places))}), so no container can join a managed "
            "network: run the agent from the Drover image, or build it with scripts/build-wait"
        )


def lacks_wait_program(error: DockerError) -> bool:
    """Whether a container did not start because its entrypoint is not in the volume."""
    return f"{WAIT_PROGRAM}:" in error.message or f'"{WAIT_PROGRAM}"' in error.message


def _archive(files: tuple[tuple[str, bytes], ...], *, folder: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        if folder:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
