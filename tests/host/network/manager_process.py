"""The network manager as a test's process: its settings in the environment, its world on standard input."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from drover.client.world import Delta, World, decode_frame
from drover.common.logging import configure_logging
from drover.host.network.docker import Docker
from drover.host.network.manager import NetworkManager
from drover.host.network.settings import NetworkManagerSettings


async def follow_stdin(_address: str, world: World) -> AsyncIterator[Delta]:
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield world.apply(decode_frame(line))
    await asyncio.Event().wait()


async def main() -> None:
    configure_logging("debug", "text", program="network-manager")
    logging.getLogger("pyroute2").setLevel(logging.WARNING)
    values = json.loads(os.environ["MANAGER_SETTINGS"])
    paths = {name: Path(value) for name, value in values.items() if name.endswith("_dir")}
    settings = NetworkManagerSettings(**(values | paths))
    async with Docker(settings.docker_url) as docker:
        manager = NetworkManager(settings, docker, follow=follow_stdin)
        running = asyncio.create_task(manager.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            await manager.finish()


asyncio.run(main())
