"""Terminal and log streams of containers.

Both are opened in two steps, as in Rancher 1.6: an action of the container answers with an address and a
short-lived token, and a WebSocket to that address carries the stream. The token alone opens it; the API
credentials are not sent, because the address may be another server.

Formats on the WebSocket (text frames):

* exec, to the container: base64 of input bytes, or `:resizeTTY:<cols>,<rows>`; from the container: base64 of
  output bytes, which without a terminal are Docker's multiplexed stream (8-byte headers).
* logs: one line a frame, `01 ` (standard output), `02 ` (standard error) or `00 ` (unknown) before the text.

Two additions of Drover, unknown to and ignored by agents of the original: the frame `:closeStdin:` ends the input
of the program without ending the stream, and with `exitCode=true` in the address the last frame of an exec stream is
`:exitCode:<number>`, which cannot be mistaken for base64.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Self

import aiohttp

from drover.client.api import ApiClient
from drover.client.errors import AuthenticationFailed, ClientError, ConnectionFailed, Forbidden
from drover.client.resource import Resource
from drover.client.urls import websocket_url, with_query

CLOSE_STDIN = ":closeStdin:"
_RESIZE = ":resizeTTY:"
_EXIT_CODE = re.compile(r":exitCode:(-?\d{1,10})")
_DOCKER_HEADER = 8
# Normal end, server going away, closed without a status.
_NORMAL_CLOSE = frozenset({1000, 1001, 1005})
# Chunks of input: base64 of this stays far below the frame limits of proxies.
_INPUT_CHUNK = 16 * 1024


class Channel(IntEnum):
    """Which output of the program a piece belongs to."""

    UNKNOWN = 0
    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a program wrote."""

    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a container's log, without the line end; `timestamp` only when it was asked for."""

    channel: Channel
    text: str
    timestamp: str | None = None


class DockerDemultiplexer:
    """Splits Docker's multiplexed stream, whose frames may begin and end anywhere in the pieces received."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Output]:
        self._buffer += data
        pieces: list[Output] = []
        while len(self._buffer) >= _DOCKER_HEADER:
            size = int.from_bytes(self._buffer[4:_DOCKER_HEADER], "big")
            end = _DOCKER_HEADER + size
            if len(self._buffer) < end:
                break
            channel = Channel.STDERR if self._buffer[0] == Channel.STDERR else Channel.STDOUT
            pieces.append(Output(channel, bytes(self._buffer[_DOCKER_HEADER:end])))
            del self._buffer[:end]
        return pieces


class ExecStream:
    """A running program: iterate for its output, then read `exit_status`. Use as an async context manager."""

    def __init__(self, frames: _Frames, *, tty: bool) -> None:
        self._frames = frames
        self._demultiplexer = None if tty else DockerDemultiplexer()
        self.exit_status: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._frames.close()

    async def send(self, data: bytes) -> None:
        """Input for the program."""
        for start in range(0, len(data), _INPUT_CHUNK):
            chunk = data[start : start + _INPUT_CHUNK]
            await self._frames.send(base64.b64encode(chunk).decode("ascii"))

    async def close_stdin(self) -> None:
        """The program reads end of file; its output goes on."""
        await self._frames.send(CLOSE_STDIN)

    async def resize(self, columns: int, rows: int) -> None:
        """The terminal has a new size."""
        await self._frames.send(f"{_RESIZE}{columns},{rows}")

    async def __aiter__(self) -> AsyncIterator[Output]:
        async for frame in self._frames:
            if ended := _EXIT_CODE.fullmatch(frame):
                self.exit_status = int(ended.group(1))
                continue
            data = _decode(frame)
            if self._demultiplexer is None:
                yield Output(Channel.STDOUT, data)
            else:
                for piece in self._demultiplexer.feed(data):
                    yield piece


async def open_exec(
    client: ApiClient, container: Resource, command: Sequence[str], *, tty: bool, stdin: bool = True
) -> ExecStream:
    """Start `command` in a running container. Raises ApiError when the container is not running."""
    access = await client.action(
        container,
        "execute",
        {"attachStdin": stdin, "attachStdout": True, "tty": tty, "command": list(command)},
    )
    return ExecStream(await _open(client, access, [("exitCode", "true")]), tty=tty)


async def stream_logs(
    client: ApiClient,
    container: Resource,
    *,
    follow: bool = False,
    lines: int = 100,
    since: str = "",
    timestamps: bool = False,
) -> AsyncGenerator[LogLine, None]:
    """Log lines of a container, oldest first; ends with the log, or with `follow` when the container is gone.

    `since` is a time (`2019-02-03T10:11:12Z`) or an age (`10m`).
    """
    access = await client.action(
        container,
        "logs",
        {"follow": follow, "lines": lines, "since": since, "timestamps": timestamps},
    )
    frames = await _open(client, access)
    try:
        async for frame in frames:
            for line in parse_log_frame(frame, timestamps=timestamps):
                yield line
    finally:
        await frames.close()


def parse_log_frame(frame: str, *, timestamps: bool = False) -> list[LogLine]:
    """The lines of one frame: normally one, more when a program wrote carriage returns or an old agent joined."""
    channel, text = Channel.UNKNOWN, frame
    if frame[:2] in ("00", "01", "02") and frame[2:3] in (" ", ""):
        channel, text = Channel(int(frame[:2])), frame[3:]
    lines = []
    for line in text.rstrip("\n").split("\n"):
        if timestamps:
            stamp, _, rest = line.partition(" ")
            lines.append(LogLine(channel, rest.rstrip("\r"), stamp))
        else:
            lines.append(LogLine(channel, line.rstrip("\r")))
    return lines


async def _open(client: ApiClient, access: Resource, parameters: Sequence[tuple[str, str]] = ()) -> _Frames:
    url, token = access.text("url"), access.text("token")
    if not url or not token:
        raise ClientError("the server gave no address for the stream: is the container's host connected?")
    address = with_query(websocket_url(url), [*parameters, ("token", token)])
    try:
        return _Frames(await client.transport.open_websocket(address, authenticate=False))
    except (AuthenticationFailed, Forbidden) as error:
        # The token is fresh, so this is not about the user's rights.
        raise ConnectionFailed(
            "the stream was refused: the agent of the container's host is not connected, or serves no streams"
        ) from error


class _Frames:
    """Text frames of one WebSocket until the other side closes it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                yield message.data
            elif message.type is aiohttp.WSMsgType.BINARY:
                yield message.data.decode("utf-8", "replace")
            else:
                self._finish(message)
                return

    async def send(self, text: str) -> None:
        """Send unless the stream has ended: what can no longer be read is no error of the sender."""
        if not self._socket.closed:
            with contextlib.suppress(aiohttp.ClientError, ConnectionResetError):
                await self._socket.send_str(text)

    async def close(self) -> None:
        await self._socket.close()

    def _finish(self, message: aiohttp.WSMessage) -> None:
        if message.type is aiohttp.WSMsgType.ERROR:
            raise ConnectionFailed(f"the stream broke: {self._socket.exception()}")
        if self._socket.close_code not in _NORMAL_CLOSE:
            reason = message.extra or f"code {self._socket.close_code}"
            raise ConnectionFailed(f"the stream was cut off: {reason}")


def _decode(frame: str) -> bytes:
    try:
        return base64.b64decode(frame, validate=True)
    except binascii.Error as error:
        raise ConnectionFailed("the stream carries text that is not base64") from error
