"""The event channel: one WebSocket to the server that is always there, or on its way back.

Requests come in as text frames. Replies go out on the same WebSocket when the server offers it
(`X-Drover-Channel`), which keeps them in order and costs no request each; a server of the original's kind gets
them by `POST publish`. Both sides ping; silence for longer than `SILENCE_LIMIT` means that the connection is dead,
whatever TCP believes. Reconnecting happens here, in process: what runs goes on, and a reply that found no
connection is sent on the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import structlog

from drover.client.events import (
    CHANNEL_HEADER,
    CHANNEL_VERSION,
    HOST_AGENT_EVENTS,
    PublishFrame,
    Reply,
    Request,
    decode_request,
    encode,
)
from drover.common.backoff import Backoff
from drover.host.agent.server import KEYS_REFUSED, Server, ServerError, WebSocket, without_url

log = structlog.get_logger(__name__)

PING_INTERVAL = 5.0
SILENCE_LIMIT = 15.0
SEND_LIMIT = 10.0
CLOSE_LIMIT = aiohttp.ClientWSTimeout(ws_close=5.0)
CONNECT_LIMIT = 30.0
# A connection that held so long shows a server that works; after its loss the waiting starts from small again.
STABLE_AFTER = 1.0
MAX_FRAME = 32 * 1024 * 1024
MAX_UNSENT = 1000
PUBLISH_TRIES = 3

Submit = Callable[[Request], Awaitable[None]]


class Channel:
    """The agent's end of the event channel."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._replies_on_socket = False
        self._since: float | None = None
        self._unsent: deque[Reply] = deque(maxlen=MAX_UNSENT)
        self.connected = asyncio.Event()

    async def run(self, submit: Submit) -> None:
        """Connects, and connects again, until cancelled.

        Refused keys are no reason to stop: a host that was removed by mistake can be restored on the server.
        """
        backoff = Backoff()
        while True:
            try:
                reason = await self._session(submit)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = without_url(error)
            if self._held_for() > STABLE_AFTER:
                backoff.reset()
            delay = backoff.next_delay()
            log.warning("channel.lost", server=self._server.base, reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    def _held_for(self) -> float:
        """Seconds since the last connection was made, if one was made; asking forgets it."""
        since, self._since = self._since, None
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    async def send(self, reply: Reply) -> None:
        """Sends a reply on the way that was agreed. A final reply that cannot go now goes later."""
        try:
            if self._replies_on_socket and self._socket is not None:
                async with asyncio.timeout(SEND_LIMIT):
                    await self._socket.send_str(encode(PublishFrame(reply)).decode())
                return
            if self._socket is not None:
                await self._publish(reply)
                return
            reason = "not connected"
        except (aiohttp.ClientError, OSError, TimeoutError, ServerError) as error:
            reason = str(error) or type(error).__name__
        if reply.transitioning == "yes":
            return
        log.debug("reply.kept", name=reply.name, reason=reason)
        self._unsent.append(reply)

    async def _session(self, submit: Submit) -> str:
        """One connection, from hand-shake to loss. Returns why it ended."""
        url = self._server.websocket_url("subscribe")
        params = [("eventNames", name) for name in HOST_AGENT_EVENTS]
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                socket = await self._server.session.ws_connect(
                    url,
                    params=params,
                    headers={**self._server.headers, CHANNEL_HEADER: CHANNEL_VERSION},
                    autoping=False,
                    max_msg_size=MAX_FRAME,
                    timeout=CLOSE_LIMIT,
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401:
                return KEYS_REFUSED
            raise
        async with socket:
            self._replies_on_socket = _accepts_replies(socket)
            self._socket = socket
            self._since = asyncio.get_running_loop().time()
            self.connected.set()
            log.info("channel.connected", server=self._server.base, replies_on_socket=self._replies_on_socket)
            pinger = asyncio.create_task(_ping(socket), name="channel-ping")
            try:
                await self._send_kept()
                return await self._receive(socket, submit)
            finally:
                self._socket = None
                self.connected.clear()
                pinger.cancel()
                await asyncio.gather(pinger, return_exceptions=True)

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, submit: Submit) -> str:
        while True:
            try:
                message = await socket.receive(timeout=SILENCE_LIMIT)
            except TimeoutError:
                return f"the server was silent for {SILENCE_LIMIT:.0f} s"
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    if message.data.strip():
                        await self._take(message.data, submit)
                case aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
                case aiohttp.WSMsgType.CLOSE | aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED:
                    return f"closed by the server ({socket.close_code})"
                case aiohttp.WSMsgType.ERROR:
                    return f"broken: {socket.exception()}"
                case _:
                    pass

    async def _take(self, frame: str, submit: Submit) -> None:
        try:
            request = decode_request(frame)
        except msgspec.DecodeError as error:
            log.warning("event.unreadable", size=len(frame), error=str(error))
            return
        await submit(request)

    async def _send_kept(self) -> None:
        for _ in range(len(self._unsent)):
            await self.send(self._unsent.popleft())

    async def _publish(self, reply: Reply) -> None:
        """`POST publish`. What the server refuses (4xx) would be refused again: it is logged and dropped."""
        backoff = Backoff(initial=0.2, maximum=2.0)
        while True:
            try:
                await self._server.post("publish", reply)
                return
            except ServerError as error:
                if 400 <= error.status < 500:
                    log.warning("reply.refused", name=reply.name, error=str(error))
                    return
                delay = backoff.next_delay()
                if backoff.failures >= PUBLISH_TRIES:
                    raise
                await asyncio.sleep(delay)


def _accepts_replies(socket: aiohttp.ClientWebSocketResponse) -> bool:
    """Whether the server's answer to the upgrade offers the channel's extension."""
    return isinstance(socket, WebSocket) and socket.upgrade_headers.get(CHANNEL_HEADER) == CHANNEL_VERSION


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Makes the server speak when it has nothing to say. A failed ping ends the connection."""
    while True:
        await asyncio.sleep(PING_INTERVAL)
        try:
            async with asyncio.timeout(SEND_LIMIT):
                await socket.ping()
        except (aiohttp.ClientError, OSError, TimeoutError):
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
            return
