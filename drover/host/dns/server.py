"""The sockets: UDP read in batches with one dictionary look-up a packet, and TCP for long answers.

A question that was asked before costs a receive, a look-up of its bytes in the asker's view, and a send. All others
go through the responder; what has to wait for a server outside waits in a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog

from drover.common.errors import SettingsError
from drover.host.dns.batch import SIZE, SLOT, Batch
from drover.host.dns.responder import Later, Responder

log = structlog.get_logger(__name__)

_RECEIVE_BUFFER = 4 << 20  # a burst of some thousands of questions waits here instead of being lost
_IP_FREEBIND = 15
_IP_PKTINFO = 8
_WAITING_MAX = 2000
_TCP_CONNECTIONS = 200
_TCP_IDLE_SECONDS = 10.0
_PORT_ATTEMPTS = 20
Peer = tuple[str, int]


def parse_listen(text: str) -> Peer:
    """``169.254.169.250:53``, ``:53`` for every address. Raises SettingsError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"--listen: {text!r} is not ADDRESS:PORT, such as 169.254.169.250:53 or :53")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - what ":53" means


class Server:
    """Serves while the ``async with`` block runs."""

    def __init__(self, listen: str, responder: Responder) -> None:
        self._address = parse_listen(listen)
        self._responder = responder
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self.questions = 0
        """All that were asked over UDP."""
        self.new_questions = 0
        """Those among them that no kept reply answered."""
        self.dropped = 0

    @property
    def port(self) -> int:
        return self._address[1]

    async def __aenter__(self) -> Server:
        try:
            self._udp, self._tcp = bound_pair(self._address)
        except OSError as error:
            raise SettingsError(f"--listen {':'.join(map(str, self._address))}: {error.strerror}") from error
        self._address = self._udp.getsockname()[:2]
        asyncio.get_running_loop().add_reader(self._udp, self._reader())
        self._tcp_server = await asyncio.start_server(self._accept, sock=self._tcp)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._udp)
        self._udp.close()
        self._tcp_server.close()
        for each in tuple(self._tasks):
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reader(self) -> Callable[[], None]:
        """In batches where the system can do that, and need not be told from which address to answer."""
        if self._address[0] != "0.0.0.0":  # noqa: S104 - compared, not bound
            with contextlib.suppress(OSError):
                return partial(self._drain, Batch(self._udp))
        return self._drain_singly

    def _drain(self, batch: Batch) -> None:
        """Answer what has arrived, at most a batch; the loop comes back when there is more."""
        shared = self._responder.shared
        clients, default, put = shared.clients, shared.default, batch.put
        place, unsent = -1, 0
        for place, client, data in batch.receive():
            kept = clients.get(client, default).replies.get(data[2:])
            reply = b"" if kept is None else data[:2] + next(kept)
            if reply and len(reply) <= SLOT:
                put(place, reply)
                continue
            self.dropped += batch.send(unsent, place)
            unsent = place + 1
            if reply:
                self._send(reply, batch.peer(place), None)
            else:
                self._answer_new(data, batch.peer(place))
        self.dropped += batch.send(unsent, place + 1)
        self.questions += place + 1

    def _drain_singly(self) -> None:
        """As above without batches. On a socket of every address, replies come from the one that was asked."""
        shared = self._responder.shared
        with contextlib.suppress(BlockingIOError):
            for _ in range(SIZE):
                data, ancillary, _flags, peer = self._udp.recvmsg(SLOT, 64)
                self.questions += 1
                kept = shared.clients.get(peer[0], shared.default).replies.get(data[2:])
                if kept is None:
                    self._answer_new(data, peer, _source(ancillary))
                else:
                    self._send(data[:2] + next(kept), peer, _source(ancillary))

    def _answer_new(self, data: bytes, peer: Peer, source: bytes | None = None) -> None:
        self.new_questions += 1
        reply = self._responder.respond(data, peer[0])
        if reply is None:
            return
        if isinstance(reply, bytes):
            self._send(reply, peer, source)
            return
        if len(self._tasks) >= _WAITING_MAX:
            reply.close()
            self.dropped += 1
            return
        self._keep(asyncio.create_task(self._answer_later(reply, peer, source)))

    async def _answer_later(self, reply: Later, peer: Peer, source: bytes | None) -> None:
        self._send(await reply, peer, source)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("question failed", exc_info=error)

    def _send(self, reply: bytes, peer: Peer, source: bytes | None) -> None:
        """A client that cannot be reached, or a full buffer: like a lost packet, the client asks again."""
        try:
            if source is None:
                self._udp.sendto(reply, peer)
            else:
                self._udp.sendmsg([reply], [(socket.IPPROTO_IP, _IP_PKTINFO, source)], 0, peer)
        except OSError:
            self.dropped += 1

    # TCP

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.create_task(self._serve_connection(reader, writer)))

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _TCP_CONNECTIONS:
                async for reply in self._replies(reader, writer.get_extra_info("peername")[0]):
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        except (ConnectionError, TimeoutError):
            return  # the client went away, or sleeps: nothing is owed to it
        finally:
            self._connections -= 1
            writer.close()

    async def _replies(self, reader: asyncio.StreamReader, client: str) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(_TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
            except asyncio.IncompleteReadError:
                return
            reply = self._responder.respond(data, client, tcp=True)
            if reply is None:
                return
            yield reply if isinstance(reply, bytes) else await reply


def bound_pair(address: Peer) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of the same port. The address need not exist yet: the metadata program adds it.

    Port 0 takes any that is free for both.
    """
    attempts = 1 if address[1] else _PORT_ATTEMPTS
    while True:
        attempts -= 1
        udp = _bound(socket.SOCK_DGRAM, address)
        try:
            return udp, _bound(socket.SOCK_STREAM, udp.getsockname()[:2])
        except OSError:
            udp.close()
            if not attempts:
                raise


def _bound(kind: socket.SocketKind, address: Peer) -> socket.socket:
    opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if address[0] == "0.0.0.0":  # noqa: S104 - compared, not bound
                # Elsewhere it would tell what is known, at the price of looking up a route for each question.
                opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def _source(ancillary: list[tuple[int, int, bytes]]) -> bytes | None:
    """The control message that makes a reply come from the address that was asked."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= 12:
            return bytes(4) + data[4:8] + bytes(4)
    return None
