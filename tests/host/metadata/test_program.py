"""`drover metadata`, as an object and as a process, beside a server that dies and returns."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from drover.client.world import Change, encode_frame
from drover.common.errors import SettingsError
from drover.common.settings import load_settings
from drover.host.metadata.answers_file import load_answers
from drover.host.metadata.program import MetadataProgram, NoAnswers
from drover.host.metadata.settings import MetadataSettings, parse_listen
from tests.host.metadata.server import ACCESS, SECRET, WorldServer
from tests.host.metadata.shop import WEB_1, full

pytestmark = pytest.mark.anyio

SECONDS = 60.0
STOPPED = msgspec.structs.replace(WEB_1, state="stopped")


def settings(server: str | None = None, **more: object) -> MetadataSettings:
    keys = {} if server is None else {"server_url": server, "access_key": ACCESS, "secret_key": SECRET}
    return load_settings(MetadataSettings, flags={**keys, **more}, environ={})


@dataclass
class Ran:
    program: MetadataProgram
    port: int

    async def get(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}", headers={"X-Forwarded-For": "10.42.0.11"}) as answer,
        ):
            return answer.status, await answer.text()

    async def until(self, path: str, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while (await self.get(path))[1] != text:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(chosen: MetadataSettings) -> AsyncIterator[Ran]:
    program = MetadataProgram(chosen)
    if program.upstream is not None:
        program.upstream.backoff.initial = 0.01
        program.upstream.backoff.maximum = 0.05
        program.upstream.backoff.reset()
    stop = asyncio.Event()
    async with program.listener.listening("127.0.0.1", 0) as port:
        task = asyncio.create_task(program.run(stop))
        try:
            yield Ran(program, port)
        finally:
            stop.set()
            async with asyncio.timeout(SECONDS):
                await task


async def test_it_follows_the_server() -> None:
    server = WorldServer(full())
    async with server.running() as address, running(settings(address, xff=True)) as ran:
        await ran.until("/latest/self/container/state", "running")
        assert server.asked == [{}]
        await server.send(Change(epoch="e", since=1, revision=2, changed=(STOPPED,)))
        await ran.until("/latest/self/container/state", "stopped")
        assert (await ran.get("/latest/self/service/token"))[1] == "secret-of-web"
        report = ran.program.report()
        assert (report["connected"], report["stale_seconds"], report["revision"]) == (True, None, 2)


@pytest.mark.parametrize("root", ["/v1", "/v2-beta", "/v2-beta/"])
async def test_both_roots_of_the_api_will_do(root: str) -> None:
    async with WorldServer(full()).running() as address, running(settings(address + root, xff=True)) as ran:
        await ran.until("/latest/self/container/state", "running")


async def test_a_server_that_dies_and_returns() -> None:
    server = WorldServer(full())
    async with running(settings("http://127.0.0.1:9", xff=True)) as ran:
        assert (await ran.get("/latest/version"))[0] == 404
        upstream = ran.program.upstream
        assert upstream is not None
        async with server.running() as address:
            port = int(address.rpartition(":")[2])
            upstream.url = address
            await ran.until("/latest/self/container/state", "running")
        version = (await ran.get("/latest/version"))[1]
        async with asyncio.timeout(SECONDS):
            while upstream.connected or not upstream.trouble:
                await asyncio.sleep(0.01)
        assert (await ran.get("/latest/version")) == (200, version), "an outage changes nothing"
        stale = ran.program.report()["stale_seconds"]
        assert isinstance(stale, float)
        assert stale >= 0
        async with server.running(port):
            await server.until_connected(2)
            assert server.asked[1] == {"epoch": "e", "revision": "1"}
            await server.send(Change(epoch="e", since=1, revision=2, changed=(STOPPED,)))
            await ran.until("/latest/self/container/state", "stopped")


@pytest.mark.parametrize("message", ["no frame", encode_frame(Change(epoch="e", since=7, revision=8)).decode()])
async def test_a_message_that_makes_no_sense_is_healed_by_a_new_connection(message: str) -> None:
    server = WorldServer(full())
    async with server.running() as address, running(settings(address, xff=True)) as ran:
        await server.until_connected(1)
        await ran.until("/latest/self/container/state", "running")
        await server.send(message)
        await server.until_connected(2)
        await server.send(Change(epoch="e", since=1, revision=2, changed=(STOPPED,)))
        await ran.until("/latest/self/container/state", "stopped")


async def test_refused_keys_are_explained_and_tried_again() -> None:
    async with WorldServer(full()).running() as address:
        chosen = settings(address, access_key="somebody", secret_key="else")
        with capture_logs() as logs:
            async with running(chosen) as ran, asyncio.timeout(SECONDS):
                while len(logs) < 2:
                    await asyncio.sleep(0.01)
                assert "does not accept the keys" in str(ran.program.report()["trouble"])


async def test_the_last_world_is_served_at_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    server = WorldServer(full())
    async with server.running() as address, running(settings(address, answers=path)):
        await server.until_connected(1)
        async with asyncio.timeout(SECONDS):
            while load_answers(path) is None:
                await asyncio.sleep(0.01)
        await server.send(Change(epoch="e", since=1, revision=2, changed=(STOPPED,)))
        await asyncio.sleep(0.05)
    kept = load_answers(path)
    assert kept is not None
    assert STOPPED in kept.objects, "what changed since the last save is saved at the end"
    async with running(settings("http://127.0.0.1:9", answers=path, xff=True)) as ran:
        assert await ran.get("/latest/self/container/state") == (200, "stopped")
        assert ran.program.report()["connected"] is False


async def test_what_is_on_disk_is_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_bytes(encode_frame(full()))
    server = WorldServer(full())
    async with server.running() as address, running(settings(address, answers=path)):
        await server.until_connected(1)
        assert server.asked == [{"epoch": "e", "revision": "1"}]


async def test_a_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    with pytest.raises(NoAnswers, match="CATTLE_URL"):
        MetadataProgram(settings(answers=path))
    path.write_bytes(encode_frame(full()))
    async with running(settings(answers=path, xff=True)) as ran:
        assert await ran.get("/latest/self/container/state") == (200, "running")
        assert ran.program.report()["server"] is None


@pytest.mark.parametrize(
    ("variables", "missing"),
    [({}, "--server-url"), ({"CATTLE_URL": "http://x"}, "--access-key")],
)
def test_missing_settings_are_named(variables: Mapping[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        load_settings(MetadataSettings, environ=variables)


def test_the_originals_variables_are_understood() -> None:
    variables = {
        "CATTLE_URL": "http://server:8080/v1",
        "CATTLE_ACCESS_KEY": "a",
        "CATTLE_SECRET_KEY": "hidden",
        "RANCHER_METADATA_ADDRESS": "169.254.1.1",
    }
    chosen = load_settings(MetadataSettings, environ=variables)
    assert (chosen.server_url, chosen.metadata_address) == ("http://server:8080/v1", "169.254.1.1")
    assert "hidden" not in repr(chosen)


def test_addresses_to_listen_at() -> None:
    assert parse_listen(":80") == ("", 80)
    assert parse_listen("169.254.169.250:80") == ("169.254.169.250", 80)
    assert parse_listen("[::1]:80") == ("::1", 80)
    for wrong in ("80", "host:", "host:x", "host:70000", ""):
        with pytest.raises(SettingsError, match="--listen"):
            parse_listen(wrong)


async def test_the_process_serves_and_ends_at_sigterm(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_bytes(encode_frame(full()))
    status = tmp_path / "log"
    server = WorldServer(full())
    async with server.running() as address:
        environment = {
            **os.environ,
            "CATTLE_URL": address,
            "CATTLE_ACCESS_KEY": ACCESS,
            "CATTLE_SECRET_KEY": SECRET,
        }
        command = [sys.executable, "-m", "drover", "metadata", "--listen", "127.0.0.1:0", "--answers", str(path)]
        with status.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--log-format", "json", "--status-listen", "127.0.0.1:0"], env=environment, stderr=output
            )
        try:
            await server.until_connected(1)
            events = {event["event"]: event for event in map(msgspec.json.decode, status.read_bytes().splitlines())}
            port = events["metadata.listening"]["port"]
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/latest/self/host/name") as answer,
            ):
                assert await answer.text() == "one"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, SECONDS) == 0
        finally:
            process.kill()
            process.wait()
