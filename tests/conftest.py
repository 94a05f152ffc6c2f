"""Fixtures that every test may use."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The whole project runs on asyncio."""
    return "asyncio"
