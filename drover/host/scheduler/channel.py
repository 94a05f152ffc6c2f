"""The scheduler's end of the event channel: one WebSocket to the server that is always there, or on its way back."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import aiohttp
import msgspec
import structlog

from drover.client.events import CHANNEL_HEADER, CHANNEL_VERSION, PublishFrame, Reply, Request, decode_request, encode
from drover.client.scheduling import EVENTS, Answer
from drover.client.urls import websocket_url
from drover.common.backoff import Backoff
from drover.common.errors import DroverError

log = structlog.get_logger(__name__)

SILENCE_SECONDS = 15.0
_CONNECT_SECONDS = 15.0
_SEND_SECONDS = 10.0
_MAX_FRAME = 16 * 1024 * 1024

Decide = Callable[[Request], Answer]


class Channel:
    """Answers each request with what ``decide`` returns; the text of its DroverErrors goes to the server."""

    def __init__(self, url: str, access_key: str, secret_key: str) -> None:
        self._url = url.rstrip("/")
        pair = base64.b64encode(f"{access_key}:{secret_key}".encode()).decode()
        self._headers = {"Authorization": f"Basic {pair}", CHANNEL_HEADER: CHANNEL_VERSION}
        self.connected = False

    async def run(self, decide: Decide) -> None:
        """Connect, and connect again, until cancelled."""
        backoff = Backoff(initial=0.5, maximum=15.0)
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    reason = await self._session(session, decide, backoff)
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    reason = f"{type(error).__name__}: {error}"
                finally:
                    self.connected = False
                delay = backoff.next_delay()
                log.warning("channel.lost", reason=reason, retry_in=round(delay, 2))
                await asyncio.sleep(delay)

    async def _session(self, session: aiohttp.ClientSession, decide: Decide, backoff: Backoff) -> str:
        url = websocket_url(f"{self._url}/subscribe")
        params = [("eventNames", name) for name in EVENTS]
        async with asyncio.timeout(_CONNECT_SECONDS):
            socket = await session.ws_connect(url, params=params, headers=self._headers, max_msg_size=_MAX_FRAME)
        async with socket:
            self.connected = True
            log.info("channel.connected", server=self._url)
            while True:
                try:
                    message = await socket.receive(timeout=SILENCE_SECONDS)
                except TimeoutError:
                    return f"the server was silent for {SILENCE_SECONDS:g} s"
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return f"closed by the server ({socket.close_code})"
                backoff.reset()
                reply = _reply(message.data, decide)
                if reply is not None:
                    async with asyncio.timeout(_SEND_SECONDS):
                        await socket.send_str(encode(PublishFrame(reply)).decode())


def _reply(text: str, decide: Decide) -> Reply | None:
    try:
        request = decode_request(text)
    except msgspec.DecodeError as error:
        log.warning("event.unreadable", error=str(error))
        return None
    if request.name.partition(";")[0] not in EVENTS or request.reply_to is None:
        return None  # the server's pings
    reply = Reply(
        name=request.reply_to,
        previous_ids=[request.id],
        resource_type="schedulerRequest",
        resource_id=request.resource_id,
    )
    try:
        reply.data = decide(request)
    except DroverError as error:
        reply.transitioning, reply.transitioning_message = "error", str(error)
    except msgspec.ValidationError as error:
        reply.transitioning, reply.transitioning_message = "error", f"a scheduler request that is none: {error}"
    return reply
