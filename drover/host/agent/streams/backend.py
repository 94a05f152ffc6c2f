"""The agent's end of the stream WebSocket: connect, take streams, lose the connection, connect again.

A stream that cannot be served is closed with the reason in the close frame's body, which the original's proxy
ignores and Drover's shows to the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.common.backoff import Backoff
from drover.host.agent.errors import AgentError
from drover.host.agent.server import Server, ServerError, without_url
from drover.host.agent.streams.multiplex import Frame, FrameType, Stream, StreamClosed, parse_frame

log = structlog.get_logger(__name__)

PING_INTERVAL = 5.0
SILENCE_LIMIT = 15.0
SEND_LIMIT = 30.0
CONNECT_LIMIT = 30.0
STABLE_AFTER = 1.0
CLOSE_LIMIT = aiohttp.ClientWSTimeout(ws_close=5.0)
MAX_FRAME = 16 * 1024 * 1024
MAX_STREAMS = 2000
CLEANUP_SECONDS = 10.0
MAX_REASON = 120

Serve = Callable[[Stream], Awaitable[None]]


class _Token(msgspec.Struct, rename="camel"):
    token: str
    url: str


class StreamBackend:
    """Keeps the stream connection of one host. `serve` handles one stream, chosen by its path."""

    def __init__(self, server: Server, serve: Serve, *, host_uuid: str) -> None:
        self._server = server
        self._serve = serve
        self._host_uuid = host_uuid

    async def run(self) -> None:
        """Connects, and connects again with a fresh token, until cancelled."""
        backoff = Backoff(initial=1.0, maximum=10.0)
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._session(await self._token())
                reason = "closed by the server"
            except (ServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = without_url(error)
                if isinstance(error, ServerError) and error.status == 501:
                    log.info("streams.disabled", reason="the server's stream proxy is switched off")
                    return
            if asyncio.get_running_loop().time() - began > STABLE_AFTER:
                backoff.reset()
            delay = backoff.next_delay()
            # Until the first ping created the host, the server knows nobody to stream for.
            log.debug("streams.lost", reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def _token(self) -> _Token:
        answer = await self._server.post("hostapiproxytokens", {"reportedUuid": self._host_uuid})
        try:
            return msgspec.convert(answer, _Token)
        except msgspec.ValidationError as error:
            raise ServerError(0, f"unexpected answer to the stream token request: {error}") from error

    async def _session(self, token: _Token) -> None:
        async with asyncio.timeout(CONNECT_LIMIT):
            socket = await self._server.session.ws_connect(
                token.url,
                params={"token": token.token},
                autoping=False,
                max_msg_size=MAX_FRAME,
                timeout=CLOSE_LIMIT,
            )
        async with socket:
            log.info("streams.connected", host=self._host_uuid)
            await _Connection(socket, self._serve).run()


class _Connection:
    """The streams of one WebSocket. All of them end with it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, serve: Serve) -> None:
        self._socket = socket
        self._serve = serve
        self._streams: dict[str, tuple[Stream, asyncio.Task[None]]] = {}
        # First come, first served: a stream with much to say waits its turn after every frame.
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        pinger = asyncio.create_task(self._ping(), name="streams-ping")
        try:
            await self._receive()
        finally:
            pinger.cancel()
            tasks = [task for _, task in self._streams.values()]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=CLEANUP_SECONDS)
            await asyncio.gather(pinger, return_exceptions=True)

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive(timeout=SILENCE_LIMIT)
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    await self._take(message.data)
                case aiohttp.WSMsgType.PING:
                    await self._socket.pong(message.data)
                case aiohttp.WSMsgType.PONG | aiohttp.WSMsgType.BINARY:
                    pass
                case _:
                    return

    async def _take(self, text: str) -> None:
        frame = parse_frame(text)
        if frame is None:
            log.warning("streams.frame.unreadable", size=len(text))
            return
        match frame.type:
            case FrameType.CONNECT:
                await self._open(frame)
            case FrameType.BODY if frame.key in self._streams:
                stream, task = self._streams[frame.key]
                try:
                    stream.feed(frame.body)
                except StreamClosed as error:
                    task.cancel()
                    await self._close(frame.key, str(error))
            case FrameType.CLOSE:
                if frame.key in self._streams:
                    stream, task = self._streams[frame.key]
                    stream.end()
                    task.cancel()
            case _:
                await self._close(frame.key, "no such stream")

    async def _open(self, frame: Frame) -> None:
        if frame.key in self._streams or len(self._streams) >= MAX_STREAMS:
            await self._close(frame.key, "too many streams on this host")
            return
        stream = Stream(frame.key, frame.body, self._send)
        task = asyncio.create_task(self._run(stream), name=f"stream {stream.path}")
        self._streams[frame.key] = (stream, task)

    async def _run(self, stream: Stream) -> None:
        reason = ""
        try:
            await self._serve(stream)
        except DockerError as error:
            reason = error.message
        except (AgentError, StreamClosed) as error:
            reason = str(error)
        except (OSError, aiohttp.ClientError) as error:
            reason = f"connection lost: {error}"
        except Exception:
            log.exception("stream.failed", path=stream.path)
            reason = "the agent failed; see its log"
        finally:
            self._streams.pop(stream.key, None)
        log.debug("stream.closed", path=stream.path, reason=reason)
        await self._close(stream.key, reason)

    async def _close(self, key: str, reason: str) -> None:
        try:
            await self._send(Frame(key, FrameType.CLOSE, reason[:MAX_REASON]))
        except StreamClosed:
            # The connection went away together with everybody who wanted to know.
            log.debug("stream.close.unsent", key=key)

    async def _send(self, frame: Frame) -> None:
        try:
            async with asyncio.timeout(SEND_LIMIT), self._turn:
                await self._socket.send_str(frame.encode())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StreamClosed("the connection to the server is lost") from error

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_INTERVAL)
            try:
                async with asyncio.timeout(SEND_LIMIT):
                    await self._socket.ping()
            except (TimeoutError, aiohttp.ClientError, OSError):
                await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
                return
