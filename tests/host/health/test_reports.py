"""Verdicts on their way to the server, which may refuse them or be away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from drover.common.backoff import Backoff
from drover.host.health.reports import Reports

pytestmark = pytest.mark.anyio


@dataclass
class Server:
    """Takes reports; `answers` are the statuses of the next ones, 201 after those."""

    answers: list[int] = field(default_factory=list)
    got: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    runner: web.AppRunner | None = None
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        self.headers.append(request.headers["Authorization"])
        self.connections.add(request.transport)
        return web.json_response({}, status=self.answers.pop(0) if self.answers else 201)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{root}/serviceevents", self.take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        return [(each["healthcheckUuid"], each["reportedHealth"]) for each in self.got]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def reporting(server: Server, root: str = "/v2-beta", clock: Clock | None = None) -> AsyncIterator[Reports]:
    await server.start()
    backoff = Backoff(initial=0.01, maximum=0.02)
    reports = Reports(
        f"http://127.0.0.1:{server.port}{root}", "key", "secret", clock or Clock(), retry_seconds=0.01, _backoff=backoff
    )
    task = asyncio.create_task(reports.run())
    try:
        yield reports
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.stop()


async def until(reached: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("root", ["/v1", "/v2-beta", ""])
async def test_a_report_as_the_server_expects_it(root: str) -> None:
    server = Server()
    async with reporting(server, root) as reports:
        reports.tell("h_c_1", "UP")
        await until(lambda: reports.told("h_c_1") == "UP")

    assert server.got == [{"healthcheckUuid": "h_c_1", "reportedHealth": "UP", "externalTimestamp": 1000}]
    assert server.headers == ["Basic " + base64.b64encode(b"key:secret").decode()]


async def test_what_the_server_knows_is_not_repeated() -> None:
    server = Server()
    async with reporting(server) as reports:
        reports.tell("k", "UP")
        await until(lambda: reports.told("k"))
        reports.tell("k", "UP")
        reports.tell("other", "UP")
        await until(lambda: reports.told("other"))

    assert server.verdicts == [("k", "UP"), ("other", "UP")]


@pytest.mark.parametrize("status", [403, 409, 500, 503, 401])
async def test_what_is_refused_is_said_again(status: int) -> None:
    server = Server(answers=[status, status])
    async with reporting(server) as reports:
        reports.tell("k", "DOWN")
        await until(lambda: reports.told("k") == "DOWN")

    assert server.verdicts == [("k", "DOWN")] * 3


async def test_only_the_latest_verdict_reaches_a_server_that_was_away() -> None:
    server = Server()
    async with reporting(server) as reports:
        await server.stop()
        reports.tell("k", "UP")
        await until(lambda: reports.trouble)
        reports.tell("k", "DOWN")
        await server.start()
        await until(lambda: reports.told("k") == "DOWN")

    assert server.verdicts == [("k", "DOWN")]
    assert reports.trouble == ""


async def test_what_is_no_longer_checked_is_no_longer_said() -> None:
    server = Server(answers=[403])
    async with reporting(server) as reports:
        reports.tell("k", "UP")
        await until(lambda: server.got)
        reports.forget("k")
        reports.tell("other", "UP")
        await until(lambda: reports.told("other"))

    assert server.verdicts == [("k", "UP"), ("other", "UP")]


async def test_a_server_that_forgot_is_told_again() -> None:
    server, clock = Server(), Clock()
    async with reporting(server, clock=clock) as reports:
        reports.tell("k", "UP")
        await until(lambda: reports.told("k"))
        reports.repeat("k", after=30)
        clock.now += 31
        reports.repeat("k", after=30)
        await until(lambda: len(server.got) == 2)

    assert [each["externalTimestamp"] for each in server.got] == [1000, 1031]


async def test_a_thousand_reports_share_a_few_connections() -> None:
    server = Server()
    async with reporting(server) as reports:
        for number in range(1000):
            reports.tell(f"k{number}", "UP")
        await until(lambda: reports.sent == 1000)

    assert len(server.got) == 1000
    assert len(server.connections) <= 4
