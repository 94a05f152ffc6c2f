"""`drover balancer` as a process: fed by a metadata stream, asked to drain, killed, and started again."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from drover.client.world import Full, encode_frame
from tests.host.balancer.proxies import HAVE_HAPROXY, Load, free_port, get, sites
from tests.host.balancer.worlds import OWN, Town, rule

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.skipif(not HAVE_HAPROXY, reason="needs HAProxy")]


@dataclass
class Around:
    """What surrounds a balancer: a metadata service, and a server that asks it to drain and serves certificates."""

    town: Town
    port: int = 0
    revision: int = 1
    certificates: dict[str, dict[str, str]] = field(default_factory=dict)
    replies: list[dict[str, Any]] = field(default_factory=list)
    _streams: list[asyncio.Queue[bytes]] = field(default_factory=list)
    _sockets: list[web.WebSocketResponse] = field(default_factory=list)
    _replied: asyncio.Event = field(default_factory=asyncio.Event)

    def frame(self) -> bytes:
        return encode_frame(Full(epoch="e", revision=self.revision, objects=self.town.objects(), host="h1")) + b"\n"

    def change(self) -> None:
        self.revision += 1
        for queue in self._streams:
            queue.put_nowait(self.frame())

    async def ask_to_drain(self, address: str, milliseconds: int) -> dict[str, Any]:
        self._replied.clear()
        async with asyncio.timeout(60):
            while not self._sockets:
                await asyncio.sleep(0.02)
            await self._sockets[-1].send_json(
                {
                    "name": "target.drain",
                    "id": "event-1",
                    "replyTo": "reply.1",
                    "resourceType": "instance",
                    "resourceId": "1i77",
                    "data": {"targetIPaddress": address, "drainTimeout": str(milliseconds)},
                }
            )
            await self._replied.wait()
        return self.replies[-1]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Around]:
        app = web.Application()
        app.router.add_get("/drover/1/world", self._world)
        app.router.add_get("/v2-beta/subscribe", self._subscribe)
        app.router.add_post("/v2-beta/publish", self._publish)
        app.router.add_get("/v2-beta/certificates", self._certificates)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(runner.addresses[0][1])
        try:
            yield self
        finally:
            for socket in self._sockets:
                await socket.close()
            await runner.cleanup()

    async def _world(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._streams.append(queue)
        with suppress(ConnectionError):
            await response.write(self.frame())
            while True:
                await response.write(await queue.get())
        return response

    async def _subscribe(self, request: web.Request) -> web.WebSocketResponse:
        assert request.query.getall("eventNames")[0] == "target.drain"
        assert request.headers["Authorization"] == _basic("agent")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def _publish(self, request: web.Request) -> web.Response:
        self.replies.append(await request.json())
        self._replied.set()
        return web.json_response({"type": "publish"}, status=201)

    async def _certificates(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == _basic("admin")
        found = [{"type": "certificate", **self.certificates[name]} for name in request.query.getall("name")]
        return web.json_response({"type": "collection", "data": found})


def _basic(user: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:secret'.encode()).decode()}"


@dataclass
class Program:
    process: asyncio.subprocess.Process
    status_port: int

    async def status(self) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            answer = await session.get(f"http://127.0.0.1:{self.status_port}/status")
            found: dict[str, Any] = await answer.json()
            return found

    async def answers(self, port: int, status: int = 200) -> None:
        async with asyncio.timeout(60):
            while (await get(port))[0] != status:
                await asyncio.sleep(0.05)


async def start(around: Around, folder: Path, *flags: str) -> Program:
    status_port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drover", "balancer"),
        *("--metadata-address", f"http://127.0.0.1:{around.port}", "--container", OWN),
        *("--config-dir", str(folder / "etc"), "--run-dir", str(folder / "run")),
        *("--health-bind", f"127.0.0.1:{free_port()}", "--healthz-listen", f"127.0.0.1:{status_port}"),
        *flags,
        env={
            **os.environ,
            "CATTLE_URL": f"http://127.0.0.1:{around.port}/v2-beta",
            "CATTLE_AGENT_ACCESS_KEY": "agent",
            "CATTLE_AGENT_SECRET_KEY": "secret",
            "CATTLE_ENVIRONMENT_ADMIN_ACCESS_KEY": "admin",
            "CATTLE_ENVIRONMENT_ADMIN_SECRET_KEY": "secret",
        },
    )
    return Program(process, status_port)


async def finish(program: Program, number: signal.Signals = signal.SIGTERM) -> int:
    program.process.send_signal(number)
    return await asyncio.wait_for(program.process.wait(), 15)


def place(target: int, count: int = 2) -> Town:
    town = Town()
    town.service("shop/web", [f"127.0.7.{index + 1}" for index in range(count)])
    town.balance(rule(free_port(), "shop/web", target))
    return town


async def test_a_balancer_from_start_to_end(tmp_path: Path) -> None:
    target = free_port()
    town = place(target)
    port = town.config.port_rules[0].source_port or 0
    async with Around(town).serving() as around, sites(4, port=target, delay=0.02):
        program = await start(around, tmp_path)
        try:
            await program.answers(port)
            async with Load(port).running(4) as load:
                await load.until(30)
                reloads = (await program.status())["reloads"]
                town.container("shop/web", "127.0.7.3")
                around.change()
                async with asyncio.timeout(60):
                    while "127.0.7.3" not in load.by_body:
                        await asyncio.sleep(0.02)

                reply = await around.ask_to_drain("127.0.7.1", 10_000)
                assert reply == {
                    "name": "reply.1",
                    "previousIds": ["event-1"],
                    "resourceType": "instance",
                    "resourceId": "1i77",
                }
                load.by_body.clear()
                await load.until(40)
                assert "127.0.7.1" not in load.by_body

                # The controller dies. HAProxy goes on, and the next controller takes it over.
                status = await program.status()
                assert status["draining"] == ["127.0.7.1"]
                await finish(program, signal.SIGKILL)
                await load.until(40)
                program = await start(around, tmp_path)
                async with asyncio.timeout(60):
                    while True:
                        with suppress(aiohttp.ClientError):
                            if (await program.status())["updates"]:
                                break
                        await asyncio.sleep(0.05)
                assert (await program.status())["pid"] == status["pid"]
                await load.until(40)
            assert load.failed == []
            assert status["reloads"] == reloads
        finally:
            assert await finish(program) == 0
        assert (await get(port))[0] == 0


async def test_a_guarded_controller_comes_back_after_a_kill(tmp_path: Path) -> None:
    target = free_port()
    town = place(target)
    port = town.config.port_rules[0].source_port or 0
    async with Around(town).serving() as around, sites(2, port=target):
        program = await start(around, tmp_path, "--guard")
        try:
            await program.answers(port)
            before = await program.status()
            os.kill(await _controller(program.process.pid), signal.SIGKILL)
            async with asyncio.timeout(60):
                while True:
                    with suppress(aiohttp.ClientError):
                        if (await program.status())["updates"]:
                            break
                    assert (await get(port))[0] == 200
            after = await program.status()
            assert (after["pid"], after["starts"]) == (before["pid"], 0)
        finally:
            assert await finish(program) == 0


async def _controller(guard: int) -> int:
    """The child of the guard."""
    children = Path(f"/proc/{guard}/task/{guard}/children")
    return int((await asyncio.to_thread(children.read_text)).split()[0])


async def test_certificates_come_from_the_server(tmp_path: Path, make_certificate: dict[str, str]) -> None:
    target = free_port()
    town = place(target)
    port = free_port()
    town.balance(rule(port, "shop/web", target, protocol="https"), default_cert="main")
    around = Around(town, certificates={"main": {"name": "main", "key": make_certificate["one"], "cert": ""}})
    async with around.serving():
        program = await start(around, tmp_path)
        try:
            async with asyncio.timeout(60):
                while True:
                    with suppress(aiohttp.ClientError):
                        if (await program.status())["certificates"]:
                            break
                    await asyncio.sleep(0.05)
            status = await program.status()
            assert status["certificates"] == ["main.pem"]
            assert (status["problems"], status["error"]) == ([], "")
        finally:
            await finish(program)


async def test_a_bad_configuration_is_reported_and_serves_on(tmp_path: Path) -> None:
    target = free_port()
    town = place(target)
    port = town.config.port_rules[0].source_port or 0
    async with Around(town).serving() as around, sites(2, port=target):
        program = await start(around, tmp_path)
        try:
            await program.answers(port)
            town.balance(*town.config.port_rules, config=f"frontend {port}\n no_such_keyword\n")
            around.change()
            async with asyncio.timeout(60):
                while "no_such_keyword" not in (await program.status())["error"]:
                    await asyncio.sleep(0.05)
            assert (await get(port))[0] == 200
            assert (await program.status())["healthy"]
        finally:
            await finish(program)
