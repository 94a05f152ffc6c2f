"""The tunnels that agents open to this server, and the streams that run through them.

An agent keeps one WebSocket open; every stream of a client (logs, a shell, statistics) is a numbered conversation on
it. Text frames ``<key>||<type>||<body>`` with type 0 connect, 1 body, 2 close. Source: the multiplex protocol of
Rancher 1.6. Beyond it, each stream has its own bounded queue, so one slow client cannot hold up the others of a host.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

log = structlog.get_logger(__name__)

CONNECT, BODY, CLOSE = "0", "1", "2"
_SEPARATOR = "||"
_QUEUE = 2000
_SEND_SECONDS = 10.0


class HostNotConnected(Exception):
    """The host's agent has no tunnel to this server now."""


class Stream:
    """One conversation with a host."""

    def __init__(self, tunnel: Tunnel, key: str) -> None:
        self.key = key
        self._tunnel = tunnel
        self._incoming: asyncio.Queue[str | None] = asyncio.Queue(_QUEUE)
        self.cut_off = False

    async def send(self, body: str) -> None:
        await self._tunnel.send(self.key, BODY, body)

    async def close(self) -> None:
        """Tell the host that nobody listens any more."""
        if self._tunnel.forget(self):
            await self._tunnel.send(self.key, CLOSE, "")

    def deliver(self, body: str | None) -> None:
        try:
            self._incoming.put_nowait(body)
        except asyncio.QueueFull:
            self.cut_off = True
            self._tunnel.forget(self)

    async def __aiter__(self) -> AsyncIterator[str]:
        while not (self.cut_off and self._incoming.empty()):
            body = await self._incoming.get()
            if body is None:
                return
            yield body


class Tunnel:
    """One agent's WebSocket."""

    def __init__(self, host_uuid: str, socket: WebSocket) -> None:
        self.host_uuid = host_uuid
        self._socket = socket
        self._streams: dict[str, Stream] = {}
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    async def open(self, uri: str) -> Stream:
        stream = Stream(self, str(uuid.uuid4()))
        self._streams[stream.key] = stream
        await self.send(stream.key, CONNECT, uri)
        return stream

    def forget(self, stream: Stream) -> bool:
        return self._streams.pop(stream.key, None) is not None

    async def send(self, key: str, kind: str, body: str) -> None:
        async with self._lock:
            if self.closed:
                raise HostNotConnected(self.host_uuid)
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await self._socket.send_text(f"{key}{_SEPARATOR}{kind}{_SEPARATOR}{body}")
            except (TimeoutError, RuntimeError, WebSocketDisconnect) as error:
                self.closed = True
                raise HostNotConnected(self.host_uuid) from error

    async def serve(self) -> None:
        """Pass on what the host says until its socket closes, or the server stops."""
        self._task = asyncio.create_task(self._receive(), name=f"tunnel:{self.host_uuid}")
        try:
            await asyncio.wait([self._task])
        finally:
            self._task.cancel()
            self.closed = True
            for stream in list(self._streams.values()):
                stream.deliver(None)
            self._streams.clear()

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _receive(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is not None:
                await self._dispatch(text)

    async def _dispatch(self, text: str) -> None:
        key, _, rest = text.partition(_SEPARATOR)
        kind, _, body = rest.partition(_SEPARATOR)
        stream = self._streams.get(key)
        if stream is None:
            if kind == BODY:
                await self.send(key, CLOSE, "")
        elif kind == BODY:
            stream.deliver(body)
        else:
            self.forget(stream)
            stream.deliver(None)


class Tunnels:
    """The tunnels of all hosts. A host that connects again replaces its older tunnel."""

    def __init__(self) -> None:
        self._by_host: dict[str, Tunnel] = {}

    def find(self, host_uuid: str) -> Tunnel:
        tunnel = self._by_host.get(host_uuid)
        if tunnel is None or tunnel.closed:
            raise HostNotConnected(host_uuid)
        return tunnel

    def close_all(self) -> None:
        """The server stops: end every stream, so that the agents' sockets can be closed."""
        for tunnel in self._by_host.values():
            tunnel.end()

    async def serve(self, host_uuid: str, socket: WebSocket) -> None:
        tunnel = Tunnel(host_uuid, socket)
        self._by_host[host_uuid] = tunnel
        log.info("tunnel.open", host_uuid=host_uuid)
        try:
            await tunnel.serve()
        finally:
            if self._by_host.get(host_uuid) is tunnel:
                del self._by_host[host_uuid]
            log.info("tunnel.closed", host_uuid=host_uuid)
