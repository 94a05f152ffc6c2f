"""Talking to charon: one request at a time on a connection, or a connection that only listens.

The messages are those of strongSwan's `vici` package; only the waiting is ours, so that it happens on the event loop
and every request has a deadline.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vici.protocol import Message, Packet

from drover.common.errors import DroverError

TIMEOUT_SECONDS = 10.0
_MAX_PACKET = 1024 * 1024

Section = dict[str, Any]
"""A message: strings, lists of strings and sections."""


class CharonGone(DroverError):
    """charon does not listen, or closed the connection."""


class CharonRefused(DroverError):
    """charon understood the command and failed to do it; the text is charon's. ``log`` is what it said meanwhile."""

    def __init__(self, text: str, log: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.log = tuple(log)


class Vici:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    async def request(
        self, command: str, message: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT_SECONDS
    ) -> Section:
        """Raises CharonGone, CharonRefused, and TimeoutError, after which the connection is of no use."""
        async with self._turn, asyncio.timeout(timeout):
            await self._send(Packet.request(command, Message.serialize(message or {})))
            return _checked(await self._receive(), ())

    async def stream(
        self,
        command: str,
        event: str,
        message: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
    ) -> list[Section]:
        """All events that a command emits until it is done. Raises as `request` does."""
        async with self._turn, asyncio.timeout(timeout):
            await self._subscribe(event)
            await self._send(Packet.request(command, Message.serialize(message or {})))
            events: list[Section] = []
            while True:
                packet = await self._receive()
                if packet.response_type == Packet.EVENT:
                    events.append(_text(Message.deserialize(packet.payload)))
                    continue
                _checked(packet, [str(each["msg"]) for each in events if "msg" in each])
                break
            await self._send(Packet.unregister_event(event))
            while (await self._receive()).response_type == Packet.EVENT:
                pass
            return events

    async def listen(self, *events: str) -> AsyncIterator[tuple[str, Section]]:
        """Events as they happen, until the connection is lost (CharonGone)."""
        async with self._turn:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                for event in events:
                    await self._subscribe(event)
            while True:
                packet = await self._receive()
                if packet.response_type == Packet.EVENT:
                    yield packet.event_type.decode(), _text(Message.deserialize(packet.payload))

    async def _subscribe(self, event: str) -> None:
        await self._send(Packet.register_event(event))
        while (packet := await self._receive()).response_type == Packet.EVENT:
            pass
        if packet.response_type != Packet.EVENT_CONFIRM:
            raise CharonRefused(f"this charon has no event {event!r}")

    async def _send(self, packet: bytes) -> None:
        try:
            self._writer.write(struct.pack("!I", len(packet)) + packet)
            await self._writer.drain()
        except OSError as error:
            raise CharonGone(f"charon has closed the connection: {error}") from error

    async def _receive(self) -> Any:
        try:
            (length,) = struct.unpack("!I", await self._reader.readexactly(4))
            if length > _MAX_PACKET:
                raise CharonGone(f"charon announced a message of {length} bytes")
            return Packet.parse(await self._reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise CharonGone(f"charon has closed the connection: {error}") from error


@asynccontextmanager
async def connect(socket: Path) -> AsyncIterator[Vici]:
    """A connection to the charon that listens on this socket. Raises CharonGone when none does."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
    except (OSError, TimeoutError) as error:
        raise CharonGone(f"no charon listens on {socket}: {error}") from error
    try:
        yield Vici(reader, writer)
    finally:
        writer.close()


def _checked(packet: Any, log: Sequence[str]) -> Section:
    if packet.response_type != Packet.CMD_RESPONSE:
        raise CharonRefused(f"charon does not know the command (answer {packet.response_type})")
    answer: Section = _text(Message.deserialize(packet.payload))
    if answer.get("success", "yes") != "yes":
        raise CharonRefused(str(answer.get("errmsg", "charon gave no reason")), log)
    return answer


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_text(each) for each in value]
    return {key: _text(each) for key, each in value.items()}
