"""The lab that end-to-end tests share."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drover.client.api import ApiClient
from lab import Lab
from tests.e2e.cluster import Cluster
from tests.e2e.engines import Engines

_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
async def lab(anyio_backend: str) -> AsyncIterator[Lab]:
    """Three hosts joined to a running server, once for all end-to-end tests.

    A test leaves it as it found it: what it deployed removed, the server and every agent running, cables plugged in.
    """
    async with Lab(hosts=3, server=True, agents=True, name=f"e{os.getpid()}") as running:
        yield running


@pytest.fixture
async def cluster(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """The lab with tools; shows its state when the test fails, and removes what the test deployed."""
    async with ApiClient(lab.server_url) as api, Engines(lab.hosts) as engines:
        cluster = Cluster(lab, api, engines, tmp_path)
        yield cluster
        if request.node.stash.get(_FAILED, False):
            print(await cluster.describe())
        await cluster.remove_stacks()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report
