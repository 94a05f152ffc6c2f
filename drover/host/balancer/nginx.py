"""nginx as provider: every change is a graceful reload. Proof that the model does not depend on HAProxy.

It serves http, https and tcp with hosts, paths, priorities and weights. It knows no active checks and no cookies of its
own; its custom text belongs into the ``http`` block.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from drover.common.backoff import Backoff
from drover.host.balancer.certificates import Bundle, write_folder, write_private
from drover.host.balancer.model import Model
from drover.host.balancer.nginx_config import MARK, NginxConfig, Unsupported
from drover.host.balancer.process import Daemon, check_output
from drover.host.balancer.provider import Applied, Rejected

_CHECK_SECONDS = 30.0
_RELOAD_SECONDS = 15.0
_ESTABLISHED = "01"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NginxLayout:
    """``config``: folder of nginx.conf; ``run``: folder of the process id."""

    config: Path
    run: Path
    health_bind: str = "*:42"

    @property
    def file(self) -> Path:
        return self.config / "nginx.conf"

    @property
    def candidate(self) -> Path:
        return self.config / "nginx_new.conf"

    @property
    def certificates(self) -> Path:
        return self.config / "certs"

    @property
    def pid(self) -> Path:
        return self.run / "drover-nginx.pid"


class Nginx:
    """The provider. ``binary``: the program to run."""

    def __init__(self, layout: NginxLayout, *, binary: str = "nginx") -> None:
        self._layout = layout
        self._binary = binary
        self._daemon: Daemon | None = None
        self._current: tuple[Model, Bundle] | None = None
        self._ready = asyncio.Event()
        self._reloads = 0

    async def run(self) -> None:
        backoff = Backoff(initial=0.2, maximum=10.0)
        while True:
            self._daemon = self._adopt() or await self._start()
            self._ready.set()
            await self._daemon.ended()
            self._ready.clear()
            delay = backoff.next_delay()
            log.error("nginx.ended", pid=self._daemon.pid, restart_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def ready(self) -> None:
        await self._ready.wait()

    async def apply(self, model: Model, bundle: Bundle) -> Applied:
        if self._current == (model, bundle):
            return Applied.NOTHING
        text = self._text(model, bundle, self._layout.certificates)
        candidates = self._layout.certificates.with_name("certs_new")
        await asyncio.to_thread(write_folder, candidates, bundle)
        write_private(self._layout.candidate, self._text(model, bundle, candidates))
        await self._check()
        await asyncio.to_thread(write_folder, self._layout.certificates, bundle)
        write_private(self._layout.file, text)
        assert self._daemon is not None, "apply is called when nginx is ready"
        self._daemon.send(signal.SIGHUP)
        await self._await_revision(_revision(model, bundle))
        self._current = (model, bundle)
        self._reloads += 1
        return Applied.RELOAD

    async def sessions(self, address: str) -> int:
        """Open connections with an address: nginx does not say which requests are with which server."""
        return await asyncio.to_thread(_connections, address)

    async def stop(self, grace: float) -> None:
        if self._daemon is not None:
            await self._daemon.stop(signal.SIGQUIT, grace)

    def status(self) -> Mapping[str, object]:
        return {
            "provider": "nginx",
            "running": self._daemon is not None and self._daemon.alive,
            "pid": self._daemon.pid if self._daemon is not None else None,
            "reloads": self._reloads,
        }

    def _text(self, model: Model, bundle: Bundle, certificates: Path) -> str:
        layout = self._layout
        config = NginxConfig(model, bundle, certificates, layout.pid, layout.health_bind, _revision(model, bundle))
        try:
            return config.text()
        except Unsupported as error:
            raise Rejected(f"nginx: {error}") from error

    def _adopt(self) -> Daemon | None:
        with suppress(OSError, ValueError):
            daemon = Daemon(int(self._layout.pid.read_text()))
            name = Path(f"/proc/{daemon.pid}/comm").read_text().strip()
            if name == Path(self._binary).name:
                log.info("nginx.adopted", pid=daemon.pid)
                return daemon
        return None

    async def _start(self) -> Daemon:
        layout = self._layout
        for folder in (layout.config, layout.run):
            folder.mkdir(parents=True, exist_ok=True)
        self._current = None
        if not (layout.file.exists() and layout.file.read_text().startswith(MARK)):
            write_private(layout.file, self._text(Model(), Bundle(), layout.certificates))
        daemon = Daemon.start((self._binary, "-c", str(layout.file), "-g", "daemon off;"))
        deadline = time.monotonic() + _RELOAD_SECONDS
        while daemon.alive and time.monotonic() < deadline:
            if await self._answered() is not None:
                log.info("nginx.started", pid=daemon.pid)
                return daemon
            await asyncio.sleep(0.02)
        log.error("nginx.start_failed", pid=daemon.pid, alive=daemon.alive)
        await daemon.stop(signal.SIGTERM, 2.0)
        return daemon

    async def _check(self) -> None:
        try:
            status, output = await check_output(
                (self._binary, "-t", "-q", "-c", str(self._layout.candidate), "-g", "error_log stderr;"),
                seconds=_CHECK_SECONDS,
            )
        except TimeoutError:
            raise Rejected(f"nginx did not finish checking the configuration in {_CHECK_SECONDS:g} s") from None
        if status != 0:
            raise Rejected(f"nginx refuses the configuration: {output.strip()[:2000]}")

    async def _await_revision(self, revision: str) -> None:
        """The new workers answer with the new revision. Old ones finish what they have."""
        deadline = time.monotonic() + _RELOAD_SECONDS
        seen = 0
        while time.monotonic() < deadline:
            # Several workers accept from one socket: for a moment the old ones do too.
            seen = seen + 1 if await self._answered() == revision else 0
            if seen >= 2 * (os.cpu_count() or 1):
                return
            await asyncio.sleep(0.02)
        raise Rejected("nginx did not take the new configuration over in time; it goes on with the former one")

    async def _answered(self) -> str | None:
        host, _, port = self._layout.health_bind.rpartition(":")
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1" if host in ("", "*") else host, int(port))
                try:
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    answer = await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None
        return answer.decode(errors="replace").rpartition("\r\n\r\n")[2]


def _connections(address: str) -> int:
    wanted = f"{struct.unpack('<I', socket.inet_aton(address))[0]:08X}:"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(1 for row in rows if row[2].startswith(wanted) and row[3] == _ESTABLISHED)


def _revision(model: Model, bundle: Bundle) -> str:
    return hashlib.sha256(repr((model, sorted(bundle.files.items()), bundle.default)).encode()).hexdigest()[:16]
