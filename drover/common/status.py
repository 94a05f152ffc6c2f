"""What a program says about itself over HTTP: alive, in which state, with which figures.

``/healthz`` answers 200 as long as the program runs and its report does not say ``"healthy": false`` (then 503),
``/status`` is the report as JSON, and ``/metrics`` are the figures in Prometheus' text format.

The libraries for it are imported when somebody listens: they take 3 MB that a host without these pages need not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from drover.common.errors import SettingsError

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client import CollectorRegistry

Report = Callable[[], Mapping[str, Any]]


class StatusServer:
    """Serves while the ``async with`` block runs. ``listen`` is ``HOST:PORT``; empty: nothing is served.

    ``registry`` has the figures; without it the process's own. Raises SettingsError for an address that is none or is
    taken.
    """

    def __init__(self, listen: str, report: Report, *, registry: CollectorRegistry | None = None) -> None:
        self._listen = listen
        self._report = report
        self._registry = registry
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int | None:
        """The port that is listened on, once it is; useful with port 0."""
        if self._runner is None or not self._runner.addresses:
            return None
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> StatusServer:
        if not self._listen:
            return self
        host, _, port = self._listen.rpartition(":")
        if not port.isdigit():
            raise SettingsError(f"--status-listen: {self._listen!r} is not HOST:PORT, such as 127.0.0.1:9100")
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host.strip("[]") or None, int(port)).start()
        except OSError as error:
            await self._runner.cleanup()
            raise SettingsError(f"--status-listen {self._listen}: {error.strerror}; choose another port") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        from aiohttp import web

        healthy = self._report().get("healthy", True)
        return web.Response(text="ok\n" if healthy else "not healthy\n", status=200 if healthy else 503)

    async def _status(self, _request: web.Request) -> web.Response:
        from aiohttp import web

        body = msgspec.json.format(msgspec.json.encode(self._report()), indent=2)
        return web.Response(body=body, content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web
        from prometheus_client import REGISTRY
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry or REGISTRY), headers={"Content-Type": content_type})
