"""Events of the server over a WebSocket, across reconnections.

The server neither numbers nor replays events (Rancher 1.6 behaviour), so a subscriber that lost its connection has
missed an unknown amount. That is said openly: iteration yields a `Resync` after every (re)connection, and whoever
keeps state re-reads it then. The server sends a ping every five seconds; silence means that the connection is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import structlog

from drover.client.errors import AuthenticationFailed, ClientError, ConnectionFailed, Forbidden, NotFound
from drover.client.resource import Resource
from drover.client.transport import Transport
from drover.client.urls import websocket_url
from drover.common.backoff import Backoff

SILENCE_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """One event: `resource.change` carries the resource as the subscriber may see it.

    An event for an agent names in `reply_to` the event that its answer must be.
    """

    name: str
    id: str | None = None
    resource_id: str | None = None
    resource_type: str | None = None
    data: dict[str, Any] | None = None
    time: int | None = None
    reply_to: str | None = None

    @property
    def resource(self) -> Resource | None:
        fields = (self.data or {}).get("resource")
        return Resource(fields) if isinstance(fields, dict) else None


@dataclass(frozen=True, slots=True)
class Resync:
    """The connection is (again) open; events before this moment may be missing. `attempt` is 0 at first."""

    attempt: int


class Subscription:
    """Async iterator of `Resync` and `Notice`; it ends only by an error, `break`, or cancellation.

    Reconnects with growing, jittered delays for as long as the server is away. Credentials that are refused, or a
    server that logs the subscriber out, raise AuthenticationFailed or Forbidden.
    """

    def __init__(
        self,
        transport: Transport,
        address: Callable[[Sequence[str]], Awaitable[str]],
        event_names: Sequence[str],
        *,
        reconnect: bool = True,
        backoff: Backoff | None = None,
    ) -> None:
        if not event_names:
            raise ClientError("a subscription needs at least one event name, for example resource.change")
        self._transport = transport
        self._address = address
        self._event_names = tuple(event_names)
        self._reconnect = reconnect
        self._backoff = backoff or Backoff(initial=0.5, maximum=15.0)

    def once(self) -> Subscription:
        """The same subscription that ends with ConnectionFailed instead of reconnecting."""
        return Subscription(self._transport, self._address, self._event_names, reconnect=False)

    def __aiter__(self) -> AsyncGenerator[Resync | Notice, None]:
        return self.events()

    async def events(self) -> AsyncGenerator[Resync | Notice, None]:
        """The same as iterating; wrap it in `contextlib.aclosing` to leave the loop early without a leak."""
        attempt = 0
        while True:
            try:
                url = websocket_url(await self._address(self._event_names))
                socket = await self._transport.open_websocket(url, silence=SILENCE_SECONDS)
                async with socket:
                    yield Resync(attempt)
                    async for notice in self._notices(socket):
                        self._backoff.reset()
                        if notice.name != "ping":
                            yield notice
                raise ConnectionFailed("the server closed the event connection")
            except (AuthenticationFailed, Forbidden, NotFound):
                raise
            except ClientError as error:
                if not self._reconnect:
                    raise
                attempt += 1
                delay = self._backoff.next_delay()
                log.info("events.reconnect", reason=str(error), delay=round(delay, 2), attempt=attempt)
                await asyncio.sleep(delay)

    async def _notices(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Notice]:
        while True:
            try:
                message = await socket.receive()
            except TimeoutError:
                raise ConnectionFailed(f"no event and no ping for {SILENCE_SECONDS:g} seconds") from None
            if message.type is aiohttp.WSMsgType.TEXT:
                notice = _parse(message.data)
                if notice.name == "logout":
                    raise AuthenticationFailed(401, "Unauthorized", message="the server ended this session")
                yield notice
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise ConnectionFailed(f"the event connection broke: {socket.exception()}")


def _parse(text: str) -> Notice:
    try:
        return msgspec.json.decode(text, type=Notice)
    except msgspec.MsgspecError as error:
        raise ClientError(f"the server sent an event that is no valid message: {error}") from error
