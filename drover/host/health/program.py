"""`drover healthcheck`, put together: follow the environment, check, report, and let others see that we live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

import structlog

from drover.client.world import World
from drover.client.world.follow import follow
from drover.common.errors import SettingsError
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.health.checker import Checker
from drover.host.health.reports import Reports
from drover.host.health.settings import HealthcheckSettings

log = structlog.get_logger(__name__)


async def run_healthcheck(settings: HealthcheckSettings) -> None:
    """Check until SIGTERM. Raises SettingsError for an address that cannot be listened on."""
    world = World()
    reports = Reports(settings.server_url, settings.access_key, settings.secret_key)
    checker = Checker(world, reports, concurrency=settings.concurrency)

    def report() -> Mapping[str, object]:
        return {
            "healthy": world.loaded,
            "revision": world.revision,
            "checks": checker.count(),
            "underWay": checker.schedule.under_way,
            "late": checker.schedule.late,
            "guardHolds": checker.guard.holding,
            "reportsSent": reports.sent,
            "reportsWaiting": reports.waiting,
            "trouble": reports.trouble,
        }

    listener = await _listen(settings.listen)
    async with listener, StatusServer(settings.status_listen, report):
        log.info("health.ready", listen=settings.listen, server=settings.server_url)
        following = _follow(settings.metadata_address, world, checker)
        await run_until_stopped(following, checker.run(), reports.run())
    log.info("health.ends")


async def _follow(address: str, world: World, checker: Checker) -> None:
    base = address if "://" in address else f"http://{address}"
    async with aclosing(follow(base, world)) as deltas:
        async for delta in deltas:
            checker.follow(delta)


async def _listen(listen: str) -> asyncio.Server:
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise SettingsError(f"--listen: {listen!r} is not HOST:PORT, such as 0.0.0.0:42")
    try:
        return await asyncio.start_server(_greet, host.strip("[]") or None, int(port))
    except OSError as error:
        raise SettingsError(f"--listen {listen}: {error.strerror or error}; choose another port") from error


async def _greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whoever connects has seen what he wanted to see."""
    writer.close()
