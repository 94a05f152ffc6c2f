"""The lab that end-to-end tests share."""

import os
from collections.abc import AsyncIterator

import pytest

from lab import Lab


@pytest.fixture(scope="session")
async def lab(anyio_backend: str) -> AsyncIterator[Lab]:
    """Three hosts joined to a running server, once for all end-to-end tests.

    A test leaves it as it found it: what it deployed removed, the server and every agent running, cables plugged in.
    """
    async with Lab(hosts=3, server=True, agents=True, name=f"e{os.getpid()}") as running:
        yield running
