"""The lab that end-to-end tests share."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drover.client.api import ApiClient
from lab import Lab
from lab.programs import environment_url
from tests.e2e.cluster import Cluster
from tests.e2e.conversation import Conversation, begin_conversation
from tests.e2e.engines import Engines
from tests.e2e.plane import Plane, create_plane, open_plane

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


@pytest.fixture(scope="session")
async def planes(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Plane, Plane]]:
    """Two environments with infrastructure, of three hosts and of one, made from the template that a test names.

    The first is the one that a server begins with: it has its infrastructure by the settings alone, those of the image
    and the one that an administrator would set. The second is made by the API.
    """
    folder = tmp_path_factory.mktemp("plane")
    settings = {
        "DEFAULT_CATTLE_CATALOG_EXECUTE": "true",
        "DEFAULT_CATTLE_PROJECT_TEMPLATE_DEFAULT_NAME": request.param,
    }
    async with (
        Lab(hosts=4, server=True, drover_image=True, name=f"p{os.getpid()}", server_variables=settings) as lab,
        Engines(lab.hosts[:3]) as three,
        Engines(lab.hosts[3:]) as one,
    ):
        default = await environment_url(lab.server_url)
        blue, blue_api = await open_plane(lab, lab.hosts[:3], three, folder / "blue", url=default)
        green, green_api = await create_plane(
            lab, lab.hosts[3:], one, folder / "green", template=request.param, name="green"
        )
        yield blue, green
        await blue_api.__aexit__(None, None, None)
        await green_api.__aexit__(None, None, None)


@pytest.fixture
async def plane(planes: tuple[Plane, Plane], request: pytest.FixtureRequest) -> AsyncIterator[Plane]:
    """The environment of three hosts; what a test deployed is removed, and a failure shows the state of everything."""
    blue, green = planes
    yield blue
    if request.node.stash.get(_FAILED, False):
        print(await blue.describe())
    await blue.remove_stacks()
    await green.remove_stacks()


@pytest.fixture
async def conversation(plane: Plane) -> Conversation:
    """A TCP connection between two hosts that speaks for as long as the test runs."""
    return await begin_conversation(plane)
