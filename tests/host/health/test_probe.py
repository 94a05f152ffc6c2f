"""One look at a target, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from drover.host.health.checklist import Target
from drover.host.health.probe import probe

pytestmark = pytest.mark.anyio


def target(port: int, line: str | None = None, *, read: float = 0.2) -> Target:
    return Target("k", "c", "c", "127.0.0.1", port, line, 2.0, 0.5, read, None, None)


@contextlib.asynccontextmanager
async def answering(*parts: bytes, close: bool = True) -> AsyncIterator[int]:
    """A server that answers every connection with these parts; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                await reader.read(1)
                writer.write(part)
                await writer.drain()
            if not close:
                await reader.read()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_connection_is_enough_without_a_request() -> None:
    async with answering() as port:
        assert await probe(target(port)) is None


async def test_a_connect_check_ends_with_a_reset() -> None:
    seen: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen.set_result(await reader.read())
        except ConnectionResetError as error:
            seen.set_result(error)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        await probe(target(server.sockets[0].getsockname()[1]))
        assert isinstance(await asyncio.wait_for(seen, 5), ConnectionResetError)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))

        assert await probe(target(taken.getsockname()[1])) == "Connection refused"


@pytest.mark.parametrize("status", [200, 204, 301, 399])
async def test_good_answers(status: int) -> None:
    async with answering(f"HTTP/1.1 {status} X\r\n\r\n".encode()) as port:
        assert await probe(target(port, "GET /")) is None


@pytest.mark.parametrize("status", [100, 199, 400, 404, 500, 503])
async def test_bad_answers(status: int) -> None:
    async with answering(f"HTTP/1.0 {status} X\r\n\r\n".encode()) as port:
        assert await probe(target(port, "GET /")) == f"status {status}"


async def test_an_answer_in_pieces() -> None:
    async with answering(b"HTTP/1.", b"0 2", b"00 OK\r\n") as port:
        assert await probe(target(port, "GET /")) is None


async def test_no_answer_in_time() -> None:
    async with answering(close=False) as port:
        assert await probe(target(port, "GET /", read=0.05)) == "no answer within 0.05 s"


async def test_closed_without_an_answer() -> None:
    async with answering() as port:
        reason = await probe(target(port, "GET /"))

    assert reason in ("the connection was closed without an answer", "Connection reset by peer")


async def test_not_http() -> None:
    async with answering(b"SSH-2.0-OpenSSH_9\r\n") as port:
        assert (await probe(target(port, "GET /")) or "").startswith("no HTTP answer")


async def test_a_request_line_that_is_none_fails_with_its_reason() -> None:
    assert (await probe(target(1, 'GET "/'))) == 'request line: a quotation mark " is not closed'
