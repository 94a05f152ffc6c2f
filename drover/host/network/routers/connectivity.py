"""`drover connectivity-check`: can the routers of the other hosts be reached through the tunnels?

It runs in the router's network namespace, asks the checks of other hosts (`/ping`) and answers the health check of its
own service (`/connectivity`). A verdict is given only where the administrator wants one (the service's metadata key
`ipsec.service.enable.healthcheck`) and while the service is active; otherwise the answer is OK. Source: the
connectivity check of Rancher 1.6.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import aiohttp
import structlog
from aiohttp import web

from drover.client.world import World
from drover.client.world.follow import follow
from drover.common.errors import SettingsError
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.network.routers import metrics
from drover.host.network.routers.devices import wait_for_own_link
from drover.host.network.routers.overlay import Overlay, OwnLink
from drover.host.network.routers.reachability import Reachability
from drover.host.network.routers.settings import ConnectivitySettings

log = structlog.get_logger(__name__)

VERDICT_WANTED = "ipsec.service.enable.healthcheck"
_SPREAD_MS = 1000


async def run_connectivity_check(settings: ConnectivitySettings) -> None:
    """Ask and answer until told to stop."""
    await run_until_stopped(_check(settings))


async def _check(settings: ConnectivitySettings) -> None:
    check = ConnectivityCheck(settings, await wait_for_own_link(settings.interface))
    runner = web.AppRunner(check.application(), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, None, settings.port).start()
        except OSError as error:
            raise SettingsError(
                f"--port {settings.port}: {error.strerror}; another check runs in this container"
            ) from error
        async with StatusServer(settings.status_listen, check.report), asyncio.TaskGroup() as tasks:
            tasks.create_task(check.keep_asking())
            async with aclosing(follow(settings.metadata_url, check.world)) as deltas:
                async for delta in deltas:
                    check.overlay.take(check.world, delta)
                    check.choose_peers()
    finally:
        await runner.cleanup()


class ConnectivityCheck:
    """What one host knows about the reachability of the others."""

    def __init__(self, settings: ConnectivitySettings, link: OwnLink) -> None:
        self.world = World()
        self.overlay = Overlay(link)
        self.reachability = Reachability()
        self._settings = settings
        self._told: list[str] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/connectivity", self._connectivity)
        return app

    def choose_peers(self) -> None:
        """Only routers that run, on hosts that are active, are expected to answer."""
        place = self.overlay.place
        own_runs = place is not None and place.container.state == "running"
        peers = self.overlay.peers.values() if own_runs else ()
        self.reachability.expect(peer.router_ip for peer in peers if peer.answers)

    @property
    def verdict_wanted(self) -> bool:
        """Whether the service asks for a verdict and is in a state in which one means something."""
        place = self.overlay.place
        if place is None:
            return False
        own = {membership.service_uuid for membership in place.container.memberships}
        services = [each for each in self.world.services.values() if each.uuid in own and each.is_primary]
        return any(
            str(service.metadata.get(VERDICT_WANTED, "")).lower() == "true" and service.state == "active"
            for service in services
        )

    @property
    def good(self) -> bool:
        return not (self.verdict_wanted and self.reachability.unreachable)

    async def keep_asking(self) -> None:
        """Ask some peers every so often; hosts that started together drift apart."""
        interval = self._settings.connectivity_check_interval
        timeout = aiohttp.ClientTimeout(total=self._settings.peer_connection_timeout / 1000)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            while True:
                peers = self.reachability.next(self._settings.sample)
                async with asyncio.TaskGroup() as tasks:
                    for address in peers:
                        tasks.create_task(self._ask(session, address))
                self._tell()
                spread = random.uniform(0, min(_SPREAD_MS, interval / 2))  # noqa: S311 - only to spread the load
                await asyncio.sleep((interval - spread) / 1000)

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> None:
        try:
            async with session.get(f"http://{address}:{self._settings.port}/ping") as answer:
                answered = answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            answered = False
        self.reachability.note(address, answered=answered)
        metrics.PEER_REACHABLE.labels(address).set(int(self.reachability.counters.get(address, 0) > 0))

    def _tell(self) -> None:
        unreachable = self.reachability.unreachable
        if unreachable != self._told:
            log.warning("peers.unreachable", peers=unreachable) if unreachable else log.info("peers.reachable")
            self._told = unreachable

    async def _ping(self, request: web.Request) -> web.Response:
        if request.remote:
            self.reachability.note(request.remote, answered=True)
        return web.Response(text="pong")

    async def _connectivity(self, _request: web.Request) -> web.Response:
        good = self.good
        return web.Response(text="OK" if good else "NOT OK", status=200 if good else 500)

    def report(self) -> dict[str, object]:
        """For /status."""
        place = self.overlay.place
        return {
            "healthy": self.good,
            "address": place.address if place else None,
            "verdict_wanted": self.verdict_wanted,
            "unreachable": self.reachability.unreachable,
            "peers": dict(sorted(self.reachability.counters.items())),
        }
