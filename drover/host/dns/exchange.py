"""One question to one name server: over UDP, and over TCP when the reply was too long for that."""

from __future__ import annotations

import asyncio
import secrets
import struct
from typing import Any

from drover.host.dns.message import Message, parse_reply, query_bytes
from drover.host.dns.wire import Malformed

Server = tuple[str, int]


class NoReply(Exception):
    """The server did not answer in time, or with something that is no answer."""


def server_address(text: str) -> Server:
    """``10.0.0.2`` or, with a port, ``10.0.0.2#5353``."""
    host, _, port = text.partition("#")
    return host, int(port) if port.isdigit() else 53


class _Question(asyncio.DatagramProtocol):
    """Waits for the right reply; anything else that arrives is not looked at."""

    def __init__(self, number: int, question: bytes) -> None:
        self._number = number
        self._question = question
        self.reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            message = parse_reply(data, self._number, self._question)
        except Malformed:
            return  # forged, or late: the right one may still come
        if not self.reply.done():
            self.reply.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(NoReply(str(exc)))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.cancel()


async def ask(
    server: Server, question: bytes, *, timeout: float, dnssec_ok: bool = False, checking_disabled: bool = False
) -> Message:
    """Each try has its own port and id, which is what makes replies hard to forge. Raises NoReply."""
    number = secrets.randbelow(0x10000)
    query = query_bytes(number, question, dnssec_ok=dnssec_ok, checking_disabled=checking_disabled)
    try:
        message = await _over_udp(server, number, question, query, timeout)
        if message.truncated:
            return await _over_tcp(server, number, question, query, timeout)
    except TimeoutError as error:
        raise NoReply(f"no answer within {timeout:g} s") from error
    except (OSError, Malformed, asyncio.IncompleteReadError) as error:
        raise NoReply(str(error)) from error
    return message


async def _over_udp(server: Server, number: int, question: bytes, query: bytes, timeout: float) -> Message:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Question(number, question), remote_addr=server)
    try:
        async with asyncio.timeout(timeout):
            transport.sendto(query)
            await asyncio.wait({protocol.reply}, timeout=timeout / 2)
            if not protocol.reply.done():
                transport.sendto(query)  # packets get lost
            return await protocol.reply
    finally:
        transport.close()


async def _over_tcp(server: Server, number: int, question: bytes, query: bytes, timeout: float) -> Message:
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(*server)
        try:
            writer.write(struct.pack("!H", len(query)) + query)
            await writer.drain()
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return parse_reply(await reader.readexactly(length), number, question)
        finally:
            writer.close()
