"""Puts the server together: the only place that knows every part.

The order of starting is the order of need (database, settings, seeds, engine, orchestration, API), and stopping goes
backwards: first no new requests, then the running processes get a moment to end, last the store writes what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
import uvicorn

from drover.common.errors import SettingsError
from drover.common.settings import setting
from drover.server.assembly import Assembly

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What an operator chooses about a server."""

    listen: str = setting(default="0.0.0.0:8080", help="Address and port to serve on.")
    data_dir: Path = setting(default=Path("/var/lib/drover"), help="Where keys and the embedded database live.")
    db: str = setting(default="", help="postgresql://… or mysql://…; empty: SQLite in the data directory.")
    auth: Literal["local", "none"] = setting(default="local", help="Access control; none lets everybody do everything.")
    trusted_proxies: tuple[str, ...] = setting(
        default=(), help="Networks (CIDR) of proxies whose X-Forwarded-* headers are believed."
    )

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listen.rpartition(":")
        if not port.isdigit():
            raise SettingsError(f"--listen: {self.listen!r} is not HOST:PORT, such as 0.0.0.0:8080 or [::]:8080")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers at ``url``."""

    url: str
    assembly: Assembly


_FIRST_LOGIN = """
  First start: log in as  admin  with the password  {password}
  It is shown only once. Change it with: drover password

"""


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handling: the signals stop the whole server, in our order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(settings: ServerSettings) -> AsyncIterator[Serving]:
    """A running server within this process. Port 0 picks a free one."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _listening(settings) as listener:
        async with Assembly.open(settings.data_dir, settings.db, settings.auth, settings.trusted_proxies) as assembly:
            config = uvicorn.Config(
                assembly.api,
                log_config=None,
                access_log=False,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=2,
                ws_ping_interval=20.0,
                ws_per_message_deflate=False,
            )
            server = _HttpServer(config)
            task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
            try:
                while not server.started:
                    if task.done():
                        await task
                    await asyncio.sleep(0.005)
                host, port = listener.getsockname()[:2]
                yield Serving(f"http://{_reachable(host)}:{port}", assembly)
            finally:
                assembly.close_streams()
                server.should_exit = True
                await task


def _listening(settings: ServerSettings) -> socket.socket:
    """The socket, bound before anything else is touched: a second server on one port must not open the database."""
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(
            f"--listen {settings.listen}: {error.strerror}; choose another port or stop its owner"
        ) from error
    # asyncio does this only for sockets it made itself; without it every answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


# Objects made before another look for cycles. The server holds tens of thousands of small objects that live long
# (rows, digests); with Python's default of 700 it spent 40 % of its processor time looking through them in vain.
_GC_THRESHOLDS = (50_000, 50, 100)


async def run_server(settings: ServerSettings) -> None:
    """Serve until SIGTERM or SIGINT."""
    gc.set_threshold(*_GC_THRESHOLDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings) as server:
        if server.assembly.admin_password is not None:
            sys.stdout.write(_FIRST_LOGIN.format(password=server.assembly.admin_password))
            sys.stdout.flush()
        gc.collect()
        gc.freeze()  # what is there now stays until the end: never look at it again
        log.info("server.ready", url=server.url, auth=settings.auth)
        await stop.wait()
        log.info("server.stopping")


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
