"""`drover scheduler`, put together: follow the environment, answer the server, say whether it works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import aiohttp
import msgspec
import structlog
from aiohttp import web

from drover.client.events import Request
from drover.client.scheduling import PRIORITIZE, RELEASE, RESERVE, Answer, Asked, SchedulerRequest
from drover.client.world import World
from drover.client.world.follow import follow
from drover.common.errors import DroverError, SettingsError
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.scheduler.channel import Channel
from drover.host.scheduler.decisions import Decisions
from drover.host.scheduler.pools import Pools
from drover.host.scheduler.settings import SchedulerSettings

log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 30.0
_POST_SECONDS = 10.0
RELABELLED = "scheduler.update"


class NotReady(DroverError):
    """Nothing is known of the environment yet."""


class Scheduler:
    """What the program knows and answers. ``run`` ends by cancellation only."""

    def __init__(self, settings: SchedulerSettings) -> None:
        self._settings = settings
        self.world = World()
        self.pools = Pools(asyncio.get_running_loop().time)
        self.channel = Channel(settings.server_url, settings.access_key, settings.secret_key)
        self.answered = 0
        self._decisions = Decisions(self.pools)
        self._relabelled = asyncio.Event()

    @property
    def healthy(self) -> bool:
        return self.world.loaded and self.channel.connected

    def report(self) -> Mapping[str, object]:
        return {
            "healthy": self.healthy,
            "revision": self.world.revision,
            "connected": self.channel.connected,
            "answered": self.answered,
            "hosts": {
                host.name: {
                    "accepts": host.accepts,
                    "containers": len(host.containers),
                    "memory": host.memory,
                    "usedMemory": host.used_memory,
                    "milliCpu": host.milli_cpu,
                    "usedMilliCpu": host.used_milli_cpu,
                }
                for host in self.pools.hosts.values()
            },
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._sweep())
            tasks.create_task(self._tell_relabelled())
            tasks.create_task(self.channel.run(self.decide))

    def decide(self, request: Request) -> Answer:
        """Raises DroverError with what the server shall show, msgspec.ValidationError for what is no request."""
        if not self.world.loaded:
            raise NotReady("the scheduler does not know the environment yet; it follows in a moment")
        asked = msgspec.json.decode(request.data, type=Asked, strict=False).scheduler_request
        self.answered += 1
        return self._answer(request.name.partition(";")[0], asked)

    def _answer(self, name: str, request: SchedulerRequest) -> Answer:
        match name:
            case _ if name == PRIORITIZE:
                return self._decisions.prioritize(request)
            case _ if name == RESERVE:
                return self._decisions.reserve(request)
            case _ if name == RELEASE:
                return self._decisions.release(request)
        raise DroverError(f"{name} is no question for a scheduler")

    async def _follow(self) -> None:
        address = self._settings.metadata_address
        async with aclosing(follow(address if "://" in address else f"http://{address}", self.world)) as deltas:
            async for delta in deltas:
                if self.pools.apply(self.world, delta):
                    self._relabelled.set()

    async def _tell_relabelled(self) -> None:
        """Services that run on every host with a label must be planned anew when labels change."""
        while True:
            await self._relabelled.wait()
            self._relabelled.clear()
            await self._post_relabelled()

    async def _post_relabelled(self) -> None:
        url = f"{self._settings.server_url.rstrip('/')}/externalhostevents"
        body = {"type": "externalHostEvent", "eventType": RELABELLED, "deleteHost": False}
        keys = aiohttp.BasicAuth(self._settings.access_key, self._settings.secret_key)
        timeout = aiohttp.ClientTimeout(total=_POST_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(auth=keys, timeout=timeout) as session,
                session.post(url, json=body) as answer,
            ):
                if answer.status >= 300:
                    log.warning("labels.not_told", status=answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("labels.not_told", reason=str(error) or type(error).__name__)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self.pools.forget_broken_promises()


async def run_scheduler(settings: SchedulerSettings) -> None:
    """Answer until SIGTERM."""
    scheduler = Scheduler(settings)
    async with StatusServer(settings.status_listen, scheduler.report), healthcheck(settings.listen, scheduler):
        await run_until_stopped(scheduler.run())
    log.info("scheduler ends")


@contextlib.asynccontextmanager
async def healthcheck(listen: str, scheduler: Scheduler) -> AsyncIterator[int | None]:
    """``GET /healthcheck`` as Rancher 1.6's health checks ask for it. Yields the port."""
    if not listen:
        yield None
        return
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise SettingsError(f"--listen: {listen!r} is not ADDRESS:PORT, such as :80")

    async def answer(_: web.Request) -> web.Response:
        if scheduler.healthy:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="not connected to the server, or without metadata\n")

    app = web.Application()
    app.router.add_get("/healthcheck", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, int(port)).start()
        yield int(runner.addresses[0][1])
    except OSError as error:
        raise SettingsError(f"--listen {listen}: {error.strerror}; choose another port") from error
    finally:
        await runner.cleanup()
