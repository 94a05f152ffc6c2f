"""The last known world on disk, so that a host that starts while the server is away has answers.

The file holds one frame with everything, tokens too: it is readable by its owner alone. It is written beside and
renamed after it has reached the disk; a power cut leaves the former one.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import structlog

from drover.client.world import Full, World, decode_frame, encode_frame
from drover.client.world.sharing import share

SAVE_SECONDS = 30.0

log = structlog.get_logger(__name__)


def load_answers(path: Path) -> Full | None:
    """What the file says; None when there is none, or when it is damaged (which is logged)."""
    try:
        frame = share(decode_frame(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("answers.ignored", file=str(path), reason=str(error), hint="it is written anew from the server")
        return None
    if not isinstance(frame, Full):
        log.warning("answers.ignored", file=str(path), reason="it holds a change, not everything")
        return None
    return frame


class AnswersFile:
    """Keeps a file in step with a world, lazily."""

    def __init__(self, path: Path, world: World) -> None:
        self._path = path
        self._world = world
        self._saved = self._mark()
        self._changed = asyncio.Event()

    def touch(self) -> None:
        """The world has changed."""
        self._changed.set()

    async def run(self, interval: float = SAVE_SECONDS) -> None:
        """Save what changed, at most once in `interval` seconds, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.save()
            await asyncio.sleep(interval)

    async def save(self) -> None:
        """Write the world if it changed since the last time. A full disk is logged and tried again later."""
        mark = self._mark()
        if mark == self._saved or not self._world.loaded:
            return
        world = self._world
        frame = Full(epoch=world.epoch, revision=world.revision, objects=tuple(world.objects()), host=world.host)
        data = encode_frame(frame)
        try:
            await asyncio.to_thread(_write, self._path, data)
        except OSError as error:
            log.warning("answers.not_saved", file=str(self._path), reason=str(error))
            self._changed.set()
            return
        self._saved = mark

    def _mark(self) -> tuple[str, int]:
        return (self._world.epoch, self._world.revision)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
