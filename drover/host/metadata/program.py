"""The metadata server, put together: `run_metadata` is the program behind `drover metadata`.

last known world -> listen -> follow the server -> publish each change, until SIGTERM. A server that is away changes
nothing of what is served.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import structlog

from drover.client.world import World
from drover.client.world.upstream import Upstream
from drover.common.errors import DroverError
from drover.common.lifetime import run_until, stop_signals
from drover.common.memory import settle
from drover.host.metadata.address import add_address
from drover.host.metadata.answers_file import AnswersFile, load_answers
from drover.host.metadata.listener import Listener
from drover.host.metadata.publication import Publication
from drover.host.metadata.settings import MetadataSettings, parse_listen

log = structlog.get_logger(__name__)


class NoAnswers(DroverError):
    """There is neither a server nor a usable file."""


async def run_metadata(settings: MetadataSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises DroverError when the address cannot be had."""
    host, port = parse_listen(settings.listen)
    _allow_many_connections()
    async with stop_signals() as stop, AsyncExitStack() as stack:
        if settings.add_address:
            await add_address(settings.metadata_address, settings.interface)
        program = MetadataProgram(settings)
        listening = program.listener.listening(host, port, shared=settings.share_port)
        bound = await stack.enter_async_context(listening)
        if settings.status_listen:
            from drover.host.metadata.status import status_server

            await stack.enter_async_context(status_server(settings.status_listen, program.report))
        log.info("metadata.listening", address=host or "all", port=bound, cached=program.world.loaded)
        await program.run(stop)


class MetadataProgram:
    """One host's metadata server without its socket."""

    def __init__(self, settings: MetadataSettings) -> None:
        self.world = World()
        self.upstream: Upstream | None = None
        self._answers: AnswersFile | None = None
        if settings.server_url is not None:
            self.upstream = Upstream(settings.server_url, settings.access_key or "", settings.secret_key or "")
        if settings.answers is not None:
            self._load(settings.answers)
            if self.upstream is not None:
                self._answers = AnswersFile(settings.answers, self.world)
        self.publication = Publication(self.world)
        self.listener = Listener(self.publication, trusts_forwarded=settings.xff)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the server until `stop` is set; then keep what is known for the next start."""
        works = []
        if self.upstream is not None:
            works.append(self._follow(self.upstream))
        if self._answers is not None:
            works.append(self._answers.run())
        try:
            await run_until(stop, *works)
        finally:
            if self._answers is not None:
                await self._answers.save()

    def report(self) -> Mapping[str, object]:
        """What `/status` shows. `stale_seconds` is how long the server has been out of reach; null while it is not."""
        world, upstream = self.world, self.upstream
        heard = None if upstream is None or upstream.heard is None else round(time.monotonic() - upstream.heard, 1)
        return {
            "loaded": world.loaded,
            "version": self.publication.version,
            "epoch": world.epoch,
            "revision": world.revision,
            "host": world.host,
            "server": None if upstream is None else upstream.url,
            "connected": upstream is not None and upstream.connected,
            "stale_seconds": None if upstream is None else upstream.stale_seconds,
            "trouble": "" if upstream is None else upstream.trouble,
            "last_frame_seconds": heard,
            "containers": len(world.containers),
            "services": len(world.services),
            "connections": self.listener.connections,
            "long_polls": len(self.listener.waiting),
            "streams": len(self.listener.streams),
            "rendered": self.listener.answered,
        }

    async def _follow(self, upstream: Upstream) -> None:
        async with aclosing(upstream.follow(self.world)) as deltas:
            async for delta in deltas:
                self.publication.apply(delta)
                del delta
                if self._answers is not None:
                    self._answers.touch()

    def _load(self, path: Path) -> None:
        frame = load_answers(path)
        if frame is not None:
            self.world.apply(frame)
            settle()
        elif self.upstream is None:
            raise NoAnswers(f"{path} has no usable answers, and there is no server to ask: set CATTLE_URL")


def _allow_many_connections() -> None:
    """Each long poll is an open file, and the usual limit is lower than what a busy host needs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(hard, 16384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
