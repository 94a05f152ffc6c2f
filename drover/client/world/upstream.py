"""A host's line to the server: the WebSocket that carries the environment's frames.

The server keeps no state for a follower. Each connection says what is held already (`epoch`, `revision`); the server
answers with the changes since, or with everything.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import aiohttp
import msgspec
import structlog

from drover.client.transport import Credentials
from drover.client.urls import websocket_url
from drover.client.world.frames import LARGE_FRAME, Frame, decode_frame
from drover.client.world.sharing import share
from drover.client.world.world import Delta, OutOfStep, World
from drover.common.backoff import Backoff
from drover.common.memory import settle

PING_SECONDS = 10.0
CONNECT_SECONDS = 20.0
MAX_FRAME = 64 * 1024 * 1024

log = structlog.get_logger(__name__)


class UpstreamLost(Exception):
    """The connection ended; the text says why."""


@dataclass(slots=True)
class Upstream:
    """The server's stream for one host. `connected` and `heard` (monotonic seconds of the last frame) tell how
    current the replica is.
    """

    url: str
    access_key: str
    secret_key: str = field(repr=False)
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=0.5, maximum=15.0))
    connected: bool = False
    heard: float | None = None
    trouble: str = ""
    _lost: float = field(default_factory=time.monotonic)

    @property
    def stale_seconds(self) -> float | None:
        """How long the server has been out of reach; None while it is connected."""
        return None if self.connected else round(time.monotonic() - self._lost, 1)

    async def follow(self, world: World) -> AsyncGenerator[Delta, None]:
        """Keep `world` current; yields after every frame, also one that changed nothing. Never ends by itself."""
        headers = Credentials(self.access_key, self.secret_key).header()
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                try:
                    async with aclosing(self._frames(session, world)) as frames:
                        async for frame in frames:
                            self.backoff.reset()
                            delta = world.apply(frame)
                            # A generator that waits keeps what its names stand for: here, all of a large world.
                            del frame
                            yield delta
                            del delta
                    self.trouble = "the server closed the connection"
                except OutOfStep as error:
                    world.epoch = ""
                    self.trouble = str(error)
                except (aiohttp.ClientError, OSError, TimeoutError, UpstreamLost) as error:
                    self.trouble = _reason(error)
                finally:
                    if self.connected:
                        self.connected, self._lost = False, time.monotonic()
                delay = self.backoff.next_delay()
                log.warning("upstream.lost", server=self.url, reason=self.trouble, retry_in=round(delay, 2))
                await asyncio.sleep(delay)

    async def _frames(self, session: aiohttp.ClientSession, world: World) -> AsyncGenerator[Frame, None]:
        query = {"encoding": "deflate"}
        if world.loaded and world.epoch:
            query |= {"epoch": world.epoch, "revision": str(world.revision)}
        async with asyncio.timeout(CONNECT_SECONDS):
            socket = await session.ws_connect(
                websocket_url(api_root(self.url)) + "/world",
                params=query,
                heartbeat=PING_SECONDS,
                max_msg_size=MAX_FRAME,
                timeout=aiohttp.ClientWSTimeout(ws_close=5.0),
            )
        async with socket:
            self.connected, self.trouble = True, ""
            log.info("upstream.connected", server=self.url)
            async for message in socket:
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    continue
                try:
                    text = _inflated(message.data) if message.type is aiohttp.WSMsgType.BINARY else message.data
                    frame = share(decode_frame(text))
                    large = len(text) >= LARGE_FRAME
                    del text
                except (msgspec.DecodeError, zlib.error) as error:
                    raise UpstreamLost(f"the server sent a message that is no frame: {error}") from error
                del message
                self.heard = time.monotonic()
                yield frame
                del frame
                if large:
                    settle()
            if (failure := socket.exception()) is not None:
                raise UpstreamLost(f"the connection broke: {failure}")


def _inflated(data: bytes) -> bytes:
    """What a binary message says: a whole environment comes as raw DEFLATE."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    text = inflate.decompress(data, MAX_FRAME)
    if not inflate.eof:
        raise UpstreamLost(f"the server sent a frame that is cut off, or larger than {MAX_FRAME} bytes")
    return text


def api_root(url: str) -> str:
    """Where the API begins. An address without a version means the current one, as in Rancher 1.6."""
    root = url.rstrip("/")
    return root if root.endswith(("/v1", "/v2-beta")) else f"{root}/v2-beta"


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        if error.status == 401:
            return "the server does not accept the keys: the host or this service was removed or its keys replaced"
        return f"the server answered {error.status} to the request for its stream"
    return str(error) or type(error).__name__
