"""List-and-watch of the engine's containers: a stream of ids whose state may have changed.

The stream starts before the list that complements it, and after every reconnect everything is listed again: what
happened meanwhile is not missed, it is looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from drover.common.backoff import Backoff
from drover.host.network.docker import Docker, EngineError, Listed

log = structlog.get_logger(__name__)

ACTIONS = ("start", "die", "destroy")


class Watch:
    """`changed(id)` for each event, `listed(containers)` at every (re)connect. `run()` never returns."""

    def __init__(
        self, docker: Docker, *, changed: Callable[[str], None], listed: Callable[[list[Listed]], None]
    ) -> None:
        self._docker = docker
        self._changed = changed
        self._listed = listed
        self.connected = False

    async def run(self) -> None:
        backoff = Backoff(initial=0.1, maximum=2.0)
        while True:
            try:
                await self._follow(backoff)
                reason = "the stream ended"
            except EngineError as error:
                reason = str(error)
            finally:
                self.connected = False
            delay = backoff.next_delay()
            log.warning("docker.events.lost", reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def _follow(self, backoff: Backoff) -> None:
        await self._docker.negotiate()
        since = await self._docker.now()
        self._listed(await self._docker.containers())
        self.connected = True
        async for event in self._docker.events(ACTIONS, since=since):
            backoff.reset()
            self._changed(event.actor.id)
