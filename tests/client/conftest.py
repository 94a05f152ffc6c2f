from collections.abc import AsyncIterator

import pytest

from drover.client.api import ApiClient
from tests.wire import WireServer


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[WireServer]:
    wire = WireServer()
    await wire.start()
    yield wire
    await wire.stop()


@pytest.fixture
async def client(server: WireServer) -> AsyncIterator[ApiClient]:
    async with ApiClient(server.url, "key", "secret", project="1a5", timeout=5) as opened:
        yield opened
