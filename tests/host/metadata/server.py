"""A server as far as a metadata program can tell: the world's WebSocket, with keys."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from drover.client.world import Change, Full, encode_frame
from drover.client.world.frames import Frame

ACCESS, SECRET = "agent", "secret-of-the-agent"
KEYS = "Basic " + base64.b64encode(f"{ACCESS}:{SECRET}".encode()).decode()


class WorldServer:
    """Sends `current` to whoever connects, unless it is known there, and then what `send` is given."""

    def __init__(self, current: Full) -> None:
        self.current = current
        self.asked: list[dict[str, str]] = []
        self._sockets: set[web.WebSocketResponse] = set()

    async def send(self, frame: Frame | str) -> None:
        if isinstance(frame, Full):
            self.current = frame
        for socket in list(self._sockets):
            await socket.send_str(frame if isinstance(frame, str) else encode_frame(frame).decode())

    async def until_connected(self, count: int) -> None:
        """Wait for the `count`th connection."""
        async with asyncio.timeout(60):
            while len(self.asked) < count or not self._sockets:
                await asyncio.sleep(0.005)

    async def hang_up(self) -> None:
        for socket in list(self._sockets):
            await socket.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != KEYS:
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        query = dict(request.query)
        assert query.pop("encoding") == "deflate"  # this server sends everything as text all the same
        current = self.current
        if query == {"epoch": current.epoch, "revision": str(current.revision)}:
            same = Change(epoch=current.epoch, since=current.revision, revision=current.revision, host=current.host)
            await socket.send_str(encode_frame(same).decode())
        else:
            await socket.send_str(encode_frame(current).decode())
        self._sockets.add(socket)
        self.asked.append(query)
        async for _ in socket:
            pass
        self._sockets.discard(socket)
        return socket

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/v2-beta/world", self.answer)
        app.router.add_get("/v1/world", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await self.hang_up()
            await runner.cleanup()
