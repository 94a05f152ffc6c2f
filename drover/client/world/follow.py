"""How a program of a host keeps a replica of its environment: it follows the host's metadata service.

The service streams frames, one a line (`GET /drover/1/world`). A follower says what it has and gets the rest, so a
lost connection costs the changes since and nothing else. Where the service is not Drover's, its standard tree is read
whenever its version changes (see `foreign`); callers cannot tell the difference.

An outage never empties a replica. Whoever follows keeps what was known last until the service says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import aiohttp
import msgspec
import structlog

from drover.client.world.foreign import tree_deltas
from drover.client.world.frames import LARGE_FRAME, Frame, decode_frame
from drover.client.world.sharing import share
from drover.client.world.world import Delta, OutOfStep, World
from drover.common.backoff import Backoff
from drover.common.memory import settle

WORLD_PATH = "/drover/1/world"
SILENCE_SECONDS = 45.0
"""The service writes at least every 15 s; three times that without a byte is a dead connection."""
MAX_FRAME = 64 * 1024 * 1024
_CONNECT_SECONDS = 10.0

Decode = Callable[[bytes], Frame]

log = structlog.get_logger(__name__)


class NotDrover(Exception):
    """The metadata service has no world stream: it is another implementation."""


class StreamLost(Exception):
    """The stream ended or sent what is no frame; the text says what happened."""


async def follow(
    address: str, world: World, *, backoff: Backoff | None = None, decode: Decode = decode_frame
) -> AsyncGenerator[Delta, None]:
    """Keep `world` current from the metadata service at `address`, for example `http://169.254.169.250`.

    Yields once for each frame that changed something; the first delta contains everything. Never ends by itself and
    raises nothing for an outage: wrap it in `contextlib.aclosing` to leave the loop early. `decode` may leave out what
    the follower does not need; it raises msgspec.DecodeError for what is no frame.
    """
    waiting = backoff or Backoff(initial=0.2, maximum=5.0)
    base = address.rstrip("/")
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    ) as session:
        while True:
            try:
                async with aclosing(_deltas(session, base, world, decode)) as deltas:
                    async for delta in deltas:
                        waiting.reset()
                        if delta:
                            yield delta
                        del delta
                reason = "the metadata service closed the stream"
            except (aiohttp.ClientError, OSError, TimeoutError, StreamLost) as error:
                reason = str(error) or type(error).__name__
            except OutOfStep as error:
                world.epoch = ""
                reason = str(error)
            delay = waiting.next_delay()
            log.info("world.reconnect", address=base, reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)


async def _deltas(
    session: aiohttp.ClientSession, base: str, world: World, decode: Decode
) -> AsyncGenerator[Delta, None]:
    try:
        async with aclosing(_stream(session, base, world, decode)) as deltas:
            async for delta in deltas:
                yield delta
                del delta
            return
    except NotDrover:
        log.info("world.foreign", address=base)
    async with aclosing(tree_deltas(session, base, world)) as deltas:
        async for delta in deltas:
            yield delta


async def _stream(
    session: aiohttp.ClientSession, base: str, world: World, decode: Decode
) -> AsyncGenerator[Delta, None]:
    query = {"epoch": world.epoch, "revision": str(world.revision)} if world.loaded and world.epoch else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    async with session.get(base + WORLD_PATH, params=query, timeout=timeout) as answer:
        if answer.status == 404:
            raise NotDrover
        if answer.status != 200:
            raise StreamLost(f"the metadata service answered {answer.status}: {(await answer.text())[:200].strip()}")
        async for line in _lines(answer.content):
            if not line.strip():
                continue
            try:
                frame = share(decode(line))
            except msgspec.DecodeError as error:
                raise StreamLost(f"the metadata service sent a line that is no frame: {error}") from error
            delta = world.apply(frame)
            large = len(line) >= LARGE_FRAME
            # A generator that waits keeps what its names stand for: here, all of a large world.
            del frame, line
            yield delta
            del delta
            if large:
                settle()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length up to MAX_FRAME; the reader's own `readline` has a limit far below a large world."""
    parts: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        first, *rest = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > MAX_FRAME:
            raise StreamLost(f"the metadata service sent a line of more than {MAX_FRAME} bytes")
        for piece in rest:
            whole = [b"".join(parts)]
            parts, size = [piece], len(piece)
            yield whole.pop()  # without a name here, because it may be long and the next one long in coming
