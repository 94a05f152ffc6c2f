"""The agent's picture of the engine: index, images, watch, reports."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, negotiate
from drover.host.agent.errors import AgentError
from drover.host.agent.image_requests import split_reference
from drover.host.agent.images import Images, PullMeter, local_name, registry_auth, with_tag
from drover.host.agent.index import ContainerIndex, from_list
from drover.host.agent.payload import CredentialData, CredentialFields, Instance, RegistryCredential
from drover.host.agent.report import docker_ports, list_element
from drover.host.agent.watcher import ContainerChange, Watcher
from tests.host.agent.conftest import IMAGE, PATIENCE, TestEngine

pytestmark = pytest.mark.anyio


def row(container: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "Id": container,
        "Names": [f"/{name}"],
        "Image": "i",
        "State": "running",
        "Status": "Up",
        "Created": 5,
    } | more


def event(action: str, container: str, **attributes: str) -> dict[str, Any]:
    return {"Type": "container", "Action": action, "Actor": {"ID": container, "Attributes": attributes}, "time": 1}


def test_finds_by_label_then_id_then_name():
    index = ContainerIndex()
    index.replace_all(
        [
            from_list(row("c1", "r-web-1", Labels={"io.rancher.container.uuid": "u1"})),
            from_list(row("c2", "u2")),
            from_list(row("c3", "other")),
        ]
    )

    def found(**instance: str) -> str | None:
        entry = index.find(Instance(**instance))
        return entry.id if entry else None

    assert found(uuid="u1", external_id="c3") == "c1"
    assert found(uuid="u2") == "c2"
    assert found(uuid="u3", external_id="c3") == "c3"
    assert found(uuid="u3") is None
    assert found() is None
    # The container that the server means is gone, and another one has its name now.
    assert found(uuid="u2", external_id="c0") is None


def test_follows_events_in_any_state():
    index = ContainerIndex()
    labels = {"io.rancher.container.uuid": "u1"}
    index.apply(event("create", "c1", name="box", image="i", **labels))
    entry = index.find(Instance(uuid="u1"))
    assert entry is not None
    assert (entry.running, entry.started_once, entry.name, dict(entry.labels)) == (False, False, "box", labels)
    index.apply(event("start", "c1"))
    index.apply(event("rename", "c1", name="/u9"))
    renamed = index.find(Instance(uuid="u9"))
    assert renamed is not None
    assert renamed.running
    index.apply(event("die", "c1"))
    index.apply(event("start", "c2", name="late", image="i"))
    assert [(entry.id, entry.running) for entry in index] == [("c1", False), ("c2", True)]
    index.apply(event("destroy", "c1"))
    index.apply(event("die", "gone"))
    assert [entry.id for entry in index] == ["c2"]


@pytest.mark.parametrize(
    ("status", "state", "running", "started"),
    [
        ("Up 3 minutes (Paused)", "paused", True, True),
        ("Created", "created", False, False),
        ("Exited (0)", "exited", False, True),
    ],
)
def test_reads_list_rows(status: str, state: str, running: bool, started: bool):
    entry = from_list(row("c", "n", Status=status, State=state))
    assert (entry.running, entry.started_once) == (running, started)


@pytest.mark.parametrize(
    ("given", "tagged", "listed"),
    [
        ("nginx", "nginx:latest", "nginx:latest"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx:1", "nginx:1"),
        ("index.docker.io/me/app", "index.docker.io/me/app:latest", "me/app:latest"),
        ("r.test:5000/app", "r.test:5000/app:latest", "r.test:5000/app:latest"),
        ("app@sha256:ab", "app@sha256:ab", "app@sha256:ab"),
    ],
)
def test_reference_names(given: str, tagged: str, listed: str):
    assert with_tag(given) == tagged
    assert local_name(given) == listed


def test_a_pull_tag_is_glued_on():
    assert split_reference("r.test:5000/app:1pull-ab") == ("r.test:5000/app", "1pull-ab")
    assert split_reference("app") == ("app", "latest")


def test_progress_is_told_when_it_says_something_new():
    meter = PullMeter()

    def download(layer: str, current: int) -> dict[str, Any]:
        return {"status": "Downloading", "id": layer, "progressDetail": {"current": current, "total": 1000}}

    steps = [
        meter.feed(line)
        for line in (
            {"status": "Pulling from app", "id": "1"},
            {"status": "Pulling from app", "id": "1"},
            download("a", 0),
            download("a", 10),
            download("a", 500),
            download("b", 0),
            {"status": "Download complete", "id": "a"},
            {"status": ""},
        )
    ]
    assert [step for step in steps if step] == [
        ("Pulling from app", None),
        ("Downloading", 0),
        ("Downloading", 50),
        ("Download complete", 50),
    ]


def test_registry_accounts():
    fields = CredentialFields(server_address="https://docker.io", email="e@x")
    account = RegistryCredential(public_value="me", secret_value="pw", data=CredentialData(fields=fields))
    header = registry_auth(account)
    assert header is not None
    assert json.loads(base64.urlsafe_b64decode(header)) == {
        "username": "me",
        "password": "pw",
        "email": "e@x",
        "serveraddress": "https://index.docker.io",
    }
    assert registry_auth(RegistryCredential(public_value="me")) is None
    assert "pw" not in repr(account)


class Registry:
    """An engine whose pulls end as told."""

    def __init__(self, *outcomes: str | None) -> None:
        self.outcomes = list(outcomes)
        self.auths: list[str | None] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def pull_image(self, params: dict[str, str], *, auth: str | None) -> AsyncIterator[dict[str, Any]]:
        self.auths.append(auth)
        yield {"status": "Pulling", "id": "x"}
        await self.gate.wait()
        if outcome := self.outcomes.pop(0):
            yield {"error": outcome}

    async def inspect_image(self, reference: str) -> dict[str, Any]:
        raise DockerError(404, "no such image")


ACCOUNT = RegistryCredential(public_value="me", secret_value="pw")


async def test_one_pull_serves_all_who_wait():
    registry = Registry(None)
    registry.gate.clear()
    images = Images(registry)  # type: ignore[arg-type]
    told: list[str] = []

    async def progress(text: str, percent: int | None) -> None:
        told.append(text)

    waiting = [asyncio.create_task(images.ensure("app", credential=None, progress=progress)) for _ in range(20)]
    for _ in range(10):
        await asyncio.sleep(0)
    waiting[0].cancel()
    registry.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[1:] == [None] * 19
    assert len(registry.auths) == 1
    assert images.known("app:latest")
    assert told.count("Pulling") >= 1


async def test_anonymous_only_after_the_registry_refused_the_account():
    registry = Registry("unauthorized: wrong password", None)
    await Images(registry).pull("app", credential=ACCOUNT)  # type: ignore[arg-type]
    assert [auth is None for auth in registry.auths] == [False, True]


async def test_the_first_error_names_image_and_account_but_not_the_password():
    registry = Registry("unauthorized: wrong password", "denied")
    with pytest.raises(AgentError) as raised:
        await Images(registry).pull("app", credential=ACCOUNT)  # type: ignore[arg-type]
    assert str(raised.value) == "Image [app:latest] failed to pull: unauthorized: wrong password (as me)"


def test_versions():
    assert negotiate(server="1.41", minimum="1.12") == (1, 41)
    assert negotiate(server="1.99", minimum="1.24") == (1, 44)
    with pytest.raises(DockerError, match="update the agent"):
        negotiate(server="1.99", minimum="1.60")


async def test_references_cannot_leave_their_url():
    engine = Engine(None, None, url="unix:///x", api_version=(1, 41))  # type: ignore[arg-type]
    for evil in ("../containers/x", "a/../../b", "a?force=1", "a b", "-x", "a\n"):
        with pytest.raises(DockerError, match="invalid image reference"):
            await engine.inspect_image(evil)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}, ["0.0.0.0:8080:80/tcp", "443/tcp"]),
        ({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, ["8080:80/tcp"]),
        ({"80/tcp": [{"HostIp": "1.2.3.4", "HostPort": ""}]}, ["1.2.3.4::80/tcp"]),
        ({}, ["99/tcp"]),
    ],
)
def test_ports_as_text(ports: dict[str, Any], expected: list[str]):
    inspect = {"NetworkSettings": {"Ports": ports}, "Config": {"ExposedPorts": {"99/tcp": {}}}}
    assert docker_ports(inspect) == expected


@pytest.mark.docker
async def test_the_list_element_derived_from_an_inspect_is_dockers_own(engine: Engine, docker_engine: TestEngine):
    container = docker_engine.docker("run", "-d", "-p", "18099:80", "-p", "53/udp", "-l", "a=b", IMAGE, "sleep", "100")
    listed = next(row for row in await engine.list_containers() if row["Id"] == container)
    derived = list_element(await engine.inspect_container(container))
    ours, theirs = derived.pop("Ports"), listed.pop("Ports")
    assert len(ours) == len(theirs)
    assert all(port in theirs for port in ours)
    assert listed.pop("Status").startswith(derived.pop("Status"))
    assert derived.pop("NetworkSettings")["Networks"].keys() == listed.pop("NetworkSettings")["Networks"].keys()
    listed.pop("SizeRw", None)
    assert derived == listed


class Tap:
    """A unix socket in front of the engine's, whose connections can be cut."""

    def __init__(self, target: str, path: Path) -> None:
        self.target = target
        self.path = path
        self.writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Tap]:
        server = await asyncio.start_unix_server(self._serve, str(self.path))
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await server.wait_closed()

    def cut(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_unix_connection(self.target)
        self.writers += [writer, down]
        await asyncio.gather(self._copy(reader, down), self._copy(up, writer), return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.docker
async def test_what_happens_while_the_event_stream_is_down_is_not_lost(
    engine: Engine, docker_engine: TestEngine, tmp_path: Path
):
    changes: list[ContainerChange] = []
    seen = asyncio.Event()

    def listen(change: ContainerChange) -> None:
        changes.append(change)
        seen.set()

    async def wait_for(action: str, container: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while (action, container) not in [(change.action, change.id) for change in changes]:
                seen.clear()
                await seen.wait()

    tap = Tap(str(docker_engine.socket), docker_engine.folder / "tap.sock")
    async with tap.open():
        watched = await Engine.connect(f"unix://{tap.path}")
        index, images = ContainerIndex(), Images(watched)
        watcher = Watcher(watched, index, images, listen)
        running = asyncio.create_task(watcher.run())
        try:
            await watcher.ready.wait()
            assert images.known(IMAGE)
            container = docker_engine.docker("run", "-d", IMAGE)
            await wait_for("start", container)
            changes.clear()
            tap.cut()
            docker_engine.docker("kill", container)
            native = docker_engine.docker("run", "-d", IMAGE)
            await wait_for("die", container)
            await wait_for("start", native)
            entry = index.get(container)
            assert entry is not None
            assert not entry.running
            docker_engine.docker("tag", IMAGE, "drover-test/second:2")
            docker_engine.docker("rm", container)
            await wait_for("destroy", container)
            assert images.known("drover-test/second:2")
            docker_engine.docker("rmi", "drover-test/second:2")
            docker_engine.docker("kill", native)
            await wait_for("die", native)
            async with asyncio.timeout(PATIENCE):
                while images.known("drover-test/second:2"):
                    await asyncio.sleep(0.01)
            assert images.known(IMAGE)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await watched.close()
