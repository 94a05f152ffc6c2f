"""`drover charon`: charon as a program of its own, so that it outlives whatever controls it.

In user space charon is the data path: when it ends, so does the traffic. Started by the controller it would share the
controller's container, and end with it at an upgrade or a `docker kill`. So it runs in a container of its own beside
the controller, in the same network namespace, from an image that stays what it was when others are upgraded. The two
share a folder with charon's socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import structlog

from drover.common.errors import SettingsError
from drover.host.network.routers.charon import (
    PID_FILE,
    START_SECONDS,
    Charon,
    CharonFailed,
    chosen_kernel,
)
from drover.host.network.routers.settings import CharonSettings
from drover.host.network.routers.vici_client import CharonGone, CharonRefused, connect

log = structlog.get_logger(__name__)

IKE_PORTS = (500, 4500)
_PAUSE_SECONDS = 0.1


async def run_charon(settings: CharonSettings) -> None:
    """Become charon, once nobody else is charon in this network namespace."""
    kernel = await chosen_kernel(settings.datapath)
    charon = Charon(settings.charon_dir, kernel, program=settings.charon, debug=settings.debug)
    await _until_free()
    # A file left by a charon of an earlier life of this container may name a process that is another one now.
    PID_FILE.unlink(missing_ok=True)
    environment = charon.prepare()
    charon.note_configuration()
    log.info("charon.started", datapath=kernel.datapath.value, socket=str(charon.socket))
    try:
        os.execve(settings.charon, [str(settings.charon)], environment)  # noqa: S606 - the program the settings name
    except OSError as error:
        raise SettingsError(f"cannot start {settings.charon}: {error.strerror}; install strongswan-charon") from error


async def _until_free() -> None:
    """Wait for a charon that is about to end: at an upgrade, the one that an older router started itself."""
    told = False
    while not all(_is_free(port) for port in IKE_PORTS):
        if not told:
            log.info("charon.waiting", reason="another program has UDP ports 500 or 4500 of this network namespace")
            told = True
        await asyncio.sleep(_PAUSE_SECONDS)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


class SeparateCharon(Charon):
    """The same charon as its controller sees it: never started or ended from here, only told another configuration."""

    async def ensure(self) -> None:
        """Wait until it answers. Raises CharonFailed."""
        await self._until_answering()
        self.adopted = True
        if self.is_ours():
            log.info("charon.adopted", socket=str(self.socket))
            return
        # It was started by another version, or with another log level. What cannot be changed while it runs waits.
        self.prepare(keep_socket=True)
        try:
            async with connect(self.socket) as vici:
                await vici.request("reload-settings")
        except (CharonGone, CharonRefused, TimeoutError) as error:
            raise CharonFailed(f"charon did not take its new configuration: {error}") from error
        self.note_configuration()
        log.info("charon.adopted", socket=str(self.socket), configuration="changed")

    async def _until_answering(self) -> None:
        for _ in range(int(START_SECONDS / _PAUSE_SECONDS)):
            if await self.answers():
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise CharonFailed(f"no charon answers on {self.socket}: look at the container that runs `drover charon`")
