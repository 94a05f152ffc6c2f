"""`drover network-manager`: settings in, a manager that serves until SIGTERM out."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AbstractAsyncContextManager, nullcontext

from drover.client.world.follow import follow
from drover.common.errors import DroverError
from drover.host.network.cleanup import clean_up
from drover.host.network.docker import Docker
from drover.host.network.manager import NetworkManager
from drover.host.network.settings import NetworkManagerSettings


class CleanupError(DroverError):
    """Something of ours is still on the host."""


async def run_network_manager(settings: NetworkManagerSettings) -> None:
    """Ends at SIGTERM or SIGINT and leaves the data path as it is."""
    # It tells of every message; what matters of that is in our own log.
    logging.getLogger("pyroute2").setLevel(logging.WARNING)
    async with Docker(settings.docker_url) as docker:
        if settings.cleanup:
            problems = await clean_up(settings, engine=docker.pid)
            if problems:
                raise CleanupError("not everything could be removed: " + "; ".join(problems) + ". Run it again.")
            return
        manager = NetworkManager(settings, docker, follow=follow)
        async with _status_page(settings.status_listen, manager):
            serving = asyncio.create_task(manager.run(), name="manager")
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, serving.cancel)
            try:
                await serving
            except asyncio.CancelledError:
                if not serving.cancelled():
                    raise


def _status_page(listen: str, manager: NetworkManager) -> AbstractAsyncContextManager[object]:
    if not listen:
        return nullcontext()
    # A web server takes memory on every host: only where somebody asked for it.
    from drover.common.status import StatusServer

    return StatusServer(listen, manager.status)
