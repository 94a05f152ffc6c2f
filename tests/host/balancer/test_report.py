"""What a balancer tells of its work, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from drover.client.errors import ConnectionFailed
from drover.host.balancer.report import Reporter

pytestmark = pytest.mark.anyio


class Server:
    """Takes reports; refuses as many as it is told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def take(self, problem: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionFailed("no route to host")
        self.heard.put_nowait(problem)

    async def next(self) -> str:
        async with asyncio.timeout(30):
            return await self.heard.get()


@asynccontextmanager
async def reporting(server: Server, *, repeat: float = 60.0) -> AsyncIterator[Reporter]:
    reporter = Reporter(server.take, settle=0.0, repeat=repeat)
    task = asyncio.create_task(reporter.run())
    yield reporter
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_what_changes_is_told_once() -> None:
    server = Server()
    async with reporting(server) as reporter:
        for problem in ("", "bad", "", "worse"):
            for _ in range(3):
                reporter.outcome(problem)
            assert await server.next() == problem
            reporter.outcome(problem)
        assert server.heard.empty()


async def test_what_was_over_at_once_is_not_told() -> None:
    server = Server()
    async with reporting(server) as reporter:
        reporter.outcome("a moment too early")
        reporter.outcome("")
        assert await server.next() == ""


async def test_a_standing_problem_is_repeated() -> None:
    server = Server()
    async with reporting(server, repeat=0.01) as reporter:
        reporter.outcome("bad")
        assert [await server.next() for _ in range(3)] == ["bad"] * 3


async def test_a_server_that_does_not_answer_hears_it_later() -> None:
    server = Server(refusals=2)
    async with reporting(server, repeat=0.01) as reporter:
        reporter.outcome("bad")
        assert await server.next() == "bad"
