"""Holds packets of a peer back for a moment that this end does not understand yet.

When two routers make a second tunnel beside the first, the end that answers has it one message before the end that
asked, and uses it at once: what it sends until its answer is understood would be lost. So the asking end lets the
kernel queue (nfnetlink_queue) what comes from this peer with an unknown index (SPI), and lets it go when the tunnel
stands. Nothing else waits. If this program dies meanwhile, the rule lets everything pass.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import structlog

from drover.host.network.routers.iproute import KernelRefused, checked, run

log = structlog.get_logger(__name__)

QUEUE = 4500
LONGEST_SECONDS = 2.0
"""A peer that has its tunnel while this end does not get the answer must not wait for it to be asked again."""

_NETFILTER = 12
_SUBSYSTEM = 3
_PACKET, _VERDICT, _CONFIG, _VERDICT_BATCH = 0, 1, 2, 3
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN = 1, 2, 3
_BIND, _META, _ACCEPT = 1, 1, 1
_PACKET_HEADER, _VERDICT_HEADER = 1, 2
_REQUEST, _REQUEST_ACK = 0x1, 0x5
_ERROR = 2
_LONGEST_QUEUE = 8192
_RECEIVE_BUFFER = 1 << 21


class PacketQueue:
    """The kernel's queue, bound by this program as long as it is open."""

    def __init__(self) -> None:
        """Raises KernelRefused."""
        self.held = 0
        self._letting_go = False
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._socket.settimeout(5)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind((0, 0))
            self._configure(_CFG_CMD, struct.pack("!BxH", _BIND, socket.AF_INET))
            self._configure(_CFG_PARAMS, struct.pack("!IB", 0, _META))
            self._configure(_CFG_MAXLEN, struct.pack("!I", _LONGEST_QUEUE))
        except OSError as error:
            self._socket.close()
            raise KernelRefused(f"cannot queue packets: {error.strerror or error}") from error
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def let_go(self) -> None:
        """Let pass, in order, what is held and what still comes."""
        self._letting_go = True
        self._receive()
        self._send(_VERDICT_BATCH, _attribute(_VERDICT_HEADER, struct.pack("!II", _ACCEPT, 0x7FFFFFFF)))

    def close(self) -> None:
        self.let_go()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _receive(self) -> None:
        last = None
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                log.warning("hold.overflow", reason="more packets than could be told of; all of them are let go")
                continue
            for number in _packet_numbers(data):
                self.held += 1
                last = number
        if self._letting_go and last is not None:
            self._send(_VERDICT_BATCH, _attribute(_VERDICT_HEADER, struct.pack("!II", _ACCEPT, last)))

    def _configure(self, kind: int, value: bytes) -> None:
        self._send(_CONFIG, _attribute(kind, value), flags=_REQUEST_ACK)
        answer = self._socket.recv(4096)
        (message,) = struct.unpack_from("=H", answer, 4)
        code = -struct.unpack_from("=i", answer, 16)[0] if message == _ERROR else 0
        if code:
            raise OSError(code, f"the kernel's queue {QUEUE} refused (error {code})")

    def _send(self, message: int, attributes: bytes, *, flags: int = _REQUEST) -> None:
        body = struct.pack("!BBH", socket.AF_UNSPEC, 0, QUEUE) + attributes
        header = struct.pack("=IHHII", 16 + len(body), (_SUBSYSTEM << 8) | message, flags, 1, 0)
        self._socket.send(header + body)


@asynccontextmanager
async def held_back(peer: str, known: Collection[int]) -> AsyncIterator[None]:
    """Hold back what this peer sends with another index than those known. Without the kernel's help nothing is held.

    One at a time in a network namespace.
    """
    try:
        queue = PacketQueue()
    except KernelRefused as error:
        log.info("hold.impossible", reason=str(error))
        yield
        return
    passing = ",".join(f"0x{each:x}" for each in sorted({0, *known}))  # 0 marks key exchange among the ESP packets
    match = ("-s", f"{peer}/32", "-p", "udp", "-m", "udp", "--dport", "4500")
    foreign = ("-m", "u32", "!", "--u32", f"0>>22&0x3C@8={passing}")
    rule = (*match, *foreign, "-j", "NFQUEUE", "--queue-num", str(QUEUE), "--queue-bypass")
    base = ("iptables", "--wait", "10", "-t", "mangle")
    loop = asyncio.get_running_loop()
    try:
        added = await run(*base, "-I", "INPUT", "1", *rule)
        if added.status != 0:
            log.info("hold.impossible", reason=added.error)
            yield
            return
        limit = loop.call_later(LONGEST_SECONDS, queue.let_go)
        try:
            yield
        finally:
            limit.cancel()
            queue.let_go()
            await checked(*base, "-D", "INPUT", *rule)
            log.debug("hold.released", peer=peer, packets=queue.held)
    finally:
        queue.close()


def _packet_numbers(data: bytes) -> list[int]:
    """The numbers that the kernel gave the packets of one datagram of messages."""
    numbers = []
    at = 0
    while at + 20 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 20:
            break
        if kind == (_SUBSYSTEM << 8) | _PACKET:
            inner = at + 20
            while inner + 4 <= at + length:
                size, attribute = struct.unpack_from("=HH", data, inner)
                if size < 4:
                    break
                if attribute & 0x3FFF == _PACKET_HEADER:
                    numbers.append(struct.unpack_from("!I", data, inner + 4)[0])
                inner += (size + 3) & ~3
        at += (length + 3) & ~3
    return numbers


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)
