"""The multiplex protocol: many streams on one WebSocket, as text frames `<key>||<type>||<body>`.

Flow control is per stream. Towards the client, a stream's handler waits for its frame to leave before it reads
more from Docker, and waiting handlers take turns. From the client, each stream has its own bounded buffer: one
that overflows is closed, because the others must not wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

SEPARATOR = "||"
MAX_BUFFERED = 4 * 1024 * 1024


class FrameType(StrEnum):
    CONNECT = "0"
    BODY = "1"
    CLOSE = "2"


@dataclass(frozen=True, slots=True)
class Frame:
    key: str
    type: str
    body: str = ""

    def encode(self) -> str:
        return f"{self.key}{SEPARATOR}{self.type}{SEPARATOR}{self.body}"


def parse_frame(text: str) -> Frame | None:
    """None for text that is no frame. The body may contain the separator."""
    parts = text.split(SEPARATOR, 2)
    return Frame(*parts) if len(parts) == 3 and parts[0] else None


class StreamClosed(Exception):
    """The other side is gone, or sent more than this side could take."""


class Stream:
    """One client's stream, as its handler sees it."""

    def __init__(self, key: str, uri: str, send_frame: Callable[[Frame], Awaitable[None]]) -> None:
        parts = urlsplit(uri)
        self.key = key
        self.path = parts.path
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._send_frame = send_frame
        self._inbound: deque[str] = deque()
        self._buffered = 0
        self._ended = False
        self._arrived = asyncio.Event()

    @property
    def token(self) -> str:
        return self.query.get("token", "")

    async def send(self, body: str) -> None:
        """One message to the client; returns when it has left."""
        await self._send_frame(Frame(self.key, FrameType.BODY, body))

    def feed(self, body: str) -> None:
        """A message from the client. Raises StreamClosed when the handler is too far behind."""
        if self._buffered + len(body) > MAX_BUFFERED:
            raise StreamClosed("the program does not read its input as fast as it is sent")
        self._inbound.append(body)
        self._buffered += len(body)
        self._arrived.set()

    def end(self) -> None:
        """No more messages will come."""
        self._ended = True
        self._arrived.set()

    async def messages(self) -> AsyncIterator[str]:
        """The client's messages until it is gone."""
        while True:
            while self._inbound:
                body = self._inbound.popleft()
                self._buffered -= len(body)
                yield body
            if self._ended:
                return
            self._arrived.clear()
            await self._arrived.wait()
