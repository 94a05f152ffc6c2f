"""A name server outside, over real sockets, that says what a test tells it to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from drover.host.dns.server import bound_pair

Behaviour = Callable[[dns.message.Message], dns.message.Message | None]


@dataclass
class Outside:
    """``records`` by (name, type): lines of rdata. ``behave`` may say something else, or None for silence."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ttl: int = 60
    behave: Behaviour | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0
    truncate: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1#{self.port}"

    def reply(self, wire: bytes, *, udp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        if self.behave is not None:
            answer = self.behave(query)
            return None if answer is None else answer.to_wire()
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        kind = dns.rdatatype.to_text(question.rdtype)
        lines = self.records.get((str(question.name).lower(), kind))
        if lines is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif self.truncate and udp:
            answer.flags |= dns.flags.TC
        else:
            answer.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, lines))
        return answer.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = self._outside.reply(data, udp=True)
        if reply is not None:
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def serving_outside(**fields: Any) -> AsyncIterator[Outside]:
    outside = Outside(**fields)
    loop = asyncio.get_running_loop()

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = outside.reply(await reader.readexactly(length), udp=False)
        if reply is not None:
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    udp, tcp = bound_pair(("127.0.0.1", 0))
    outside.port = udp.getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(outside), sock=udp)
    server = await asyncio.start_server(over_tcp, sock=tcp)
    try:
        yield outside
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
