"""What every WebSocket of the server does alike: who may open one, sending with patience, closing politely."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketState

from drover.server.api.errors import ApiError

NORMAL = 1000
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

_SEND_SECONDS = 30.0


class Ended(Exception):
    """The conversation is over; nothing is wrong."""


class Sender:
    """Sends one frame at a time, and gives up (Ended) on a client that takes none for half a minute."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._lock = asyncio.Lock()

    async def send(self, frame: str | bytes) -> None:
        """Text goes as a text message, bytes as a binary one."""
        async with self._lock:
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    if isinstance(frame, bytes):
                        await self._socket.send_bytes(frame)
                    else:
                        await self._socket.send_text(frame)
            except TimeoutError:
                raise Ended from None
            except RuntimeError as closed:  # Starlette's word for a socket that is closed already
                raise Ended from closed


def check_origin(socket: WebSocket) -> None:
    """A page of another site must not ride on a browser's cookies (cross-site WebSocket hijacking). Raises ApiError."""
    origin = socket.headers.get("origin")
    if origin is None:
        return
    if urlsplit(origin).netloc.lower() != socket.headers.get("host", "").lower():
        raise ApiError(403, None, f"WebSockets from {origin} are not accepted here")


async def refuse(socket: WebSocket, error: ApiError) -> None:
    """Answer the handshake with the error."""
    headers = dict(error.headers)
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(JSONResponse(error.body(), status_code=error.status, headers=headers))
    else:
        await socket.close(POLICY_VIOLATION, error.message[:120])


async def close(socket: WebSocket, code: int = NORMAL) -> None:
    """Close a socket unless it is closed."""
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        try:
            await socket.close(code)
        except RuntimeError:
            return  # closed from the other side at the same moment
