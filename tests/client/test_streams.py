import asyncio

import pytest
from aiohttp import WSMsgType, web

from drover.client.api import ApiClient
from drover.client.errors import ClientError, ConnectionFailed
from drover.client.resource import Resource
from drover.client.streams import (
    Channel,
    DockerDemultiplexer,
    LogLine,
    Output,
    open_exec,
    parse_log_frame,
    stream_logs,
)
from tests.wire import WireServer, docker_frame, frame

pytestmark = pytest.mark.anyio


async def read_until_close(socket: web.WebSocketResponse, received: list[str], last: str) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            received.append(message.data)
            if message.data == last:
                return


async def test_exec_with_a_terminal(server: WireServer, client: ApiClient) -> None:
    received: list[str] = []

    async def shell(socket: web.WebSocketResponse) -> None:
        await read_until_close(socket, received, frame(b"exit\n"))
        await socket.send_str(frame(b"bye\r\n"))
        await socket.send_str(":exitCode:3")

    server.streams["exec"] = shell
    container = Resource(server.add("container", name="web-1"))
    async with await open_exec(client, container, ["sh"], tty=True) as stream:
        await stream.resize(80, 24)
        await stream.send(b"exit\n")
        output = [piece async for piece in stream]
    assert received == [":resizeTTY:80,24", frame(b"exit\n")]
    assert output == [Output(Channel.STDOUT, b"bye\r\n")]
    assert stream.exit_status == 3
    assert server.bodies == [{"attachStdin": True, "attachStdout": True, "tty": True, "command": ["sh"]}]
    assert server.requests[-1] == f"GET /v1/exec/?exitCode=true&token=execute-{container.id}"
    assert "Authorization" not in server.headers[-1]


async def test_exec_without_a_terminal_separates_the_outputs(server: WireServer, client: ApiClient) -> None:
    async def program(socket: web.WebSocketResponse) -> None:
        stream = docker_frame(1, b"out") + docker_frame(2, b"err") + docker_frame(1, b"more")
        # Cut anywhere: pieces of the stream do not respect frames.
        for start in range(0, len(stream), 5):
            await socket.send_str(frame(stream[start : start + 5]))

    server.streams["exec"] = program
    container = Resource(server.add("container", name="web-1"))
    async with await open_exec(client, container, ["ls"], tty=False) as stream:
        output = [piece async for piece in stream]
    assert output == [
        Output(Channel.STDOUT, b"out"),
        Output(Channel.STDERR, b"err"),
        Output(Channel.STDOUT, b"more"),
    ]
    assert stream.exit_status is None


async def test_large_input_travels_in_pieces_and_ends(server: WireServer, client: ApiClient) -> None:
    received: list[str] = []

    async def program(socket: web.WebSocketResponse) -> None:
        await read_until_close(socket, received, ":closeStdin:")

    server.streams["exec"] = program
    container = Resource(server.add("container", name="web-1"))
    async with await open_exec(client, container, ["cat"], tty=False) as stream:
        await stream.send(b"x" * 40_000)
        await stream.close_stdin()
        assert [piece async for piece in stream] == []
    assert len(received) == 4
    await stream.send(b"too late")


async def test_a_cut_stream_is_an_error(server: WireServer, client: ApiClient) -> None:
    async def program(socket: web.WebSocketResponse) -> None:
        await socket.send_str(frame(docker_frame(1, b"half")))
        await socket.close(code=1011, message=b"agent lost")

    server.streams["exec"] = program
    container = Resource(server.add("container", name="web-1"))
    async with await open_exec(client, container, ["ls"], tty=False) as stream:
        with pytest.raises(ConnectionFailed, match="cut off: agent lost"):
            [piece async for piece in stream]


async def test_logs(server: WireServer, client: ApiClient) -> None:
    async def lines(socket: web.WebSocketResponse) -> None:
        await socket.send_str("01 2024-03-01T10:00:00Z hello  world\n")
        await socket.send_str("02 2024-03-01T10:00:01Z oops\n")

    server.streams["logs"] = lines
    container = Resource(server.add("container", name="web-1"))
    async with asyncio.timeout(60):
        seen = [line async for line in stream_logs(client, container, lines=10, timestamps=True)]
    assert seen == [
        LogLine(Channel.STDOUT, "hello  world", "2024-03-01T10:00:00Z"),
        LogLine(Channel.STDERR, "oops", "2024-03-01T10:00:01Z"),
    ]
    assert server.bodies == [{"follow": False, "lines": 10, "since": "", "timestamps": True}]


async def test_a_refused_stream_is_about_the_host(server: WireServer, client: ApiClient) -> None:
    server.refuse_websockets = 403
    container = Resource(server.add("container", name="web-1"))
    with pytest.raises(ConnectionFailed, match="agent of the container's host is not connected"):
        [line async for line in stream_logs(client, container)]


async def test_no_address_for_the_stream(server: WireServer, client: ApiClient) -> None:
    server.actions["logs"] = lambda *_: {"type": "hostAccess"}
    container = Resource(server.add("container", name="web-1"))
    with pytest.raises(ClientError, match="is the container's host connected"):
        [line async for line in stream_logs(client, container)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("01 plain\n", [LogLine(Channel.STDOUT, "plain")]),
        ("00 tty\r\n", [LogLine(Channel.UNKNOWN, "tty")]),
        ("01 \n", [LogLine(Channel.STDOUT, "")]),
        ("02 a\nb\n", [LogLine(Channel.STDERR, "a"), LogLine(Channel.STDERR, "b")]),
        ("2024 is a year\n", [LogLine(Channel.UNKNOWN, "2024 is a year")]),
    ],
)
def test_log_frames(text: str, expected: list[LogLine]) -> None:
    assert parse_log_frame(text) == expected


def test_the_demultiplexer_waits_for_whole_frames() -> None:
    splitter = DockerDemultiplexer()
    data = docker_frame(2, b"abc")
    assert splitter.feed(data[:4]) == []
    assert splitter.feed(data[4:10]) == []
    assert splitter.feed(data[10:] + docker_frame(1, b"")) == [
        Output(Channel.STDERR, b"abc"),
        Output(Channel.STDOUT, b""),
    ]
