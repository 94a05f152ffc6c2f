"""Many datagrams with two system calls: `recvmmsg` and `sendmmsg` of Linux.

What the calls need (headers, addresses, room for each message) is laid out once and used again and again. A reply goes
where the address of its question lies, so no address is ever turned into an object and back. All of it is memory that
the kernel writes to: nothing here may be used after the socket is closed.
"""

from __future__ import annotations

import ctypes
import mmap
import socket
from collections.abc import Iterator

from drover.host.dns.wire import OWN_SIZE

SIZE = 128
SLOT = OWN_SIZE
"""Bytes of a question, as many as we say that we take, and of a reply. A longer question is cut off."""
_ADDRESS = 16  # struct sockaddr_in: family, port, address, padding


class _Vector(ctypes.Structure):
    """``struct iovec``"""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """``struct msghdr``"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """``struct mmsghdr``: how long the message is that came or went is told behind its header."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint))


class Batch:
    """Up to 128 questions and their replies. Raises OSError where the system has no such calls."""

    def __init__(self, sock: socket.socket) -> None:
        try:
            library = ctypes.CDLL(None)
            self._receive, self._send = library.recvmmsg, library.sendmmsg
        except AttributeError as error:
            raise OSError("recvmmsg and sendmmsg are missing") from error
        self._file = sock.fileno()
        # Slices of a memory map are bytes, without a view in between.
        self._questions, self._replies = mmap.mmap(-1, SIZE * SLOT), mmap.mmap(-1, SIZE * SLOT)
        self._addresses = mmap.mmap(-1, SIZE * _ADDRESS)
        self._in, self._in_vectors = self._headers(self._questions)
        self._out, self._out_vectors = self._headers(self._replies)
        self._received = _column(self._in, _Message.length.offset, "I")
        self._sizes = _column(self._out_vectors, _Vector.length.offset, "N")

    def _headers(self, room: mmap.mmap) -> tuple[ctypes.Array[_Message], ctypes.Array[_Vector]]:
        """One header a slot, each with the address in the same place."""
        start, addresses = _where(room), _where(self._addresses)
        vectors = (_Vector * SIZE)(*(_Vector(start + at, SLOT) for at in range(0, SIZE * SLOT, SLOT)))
        first, step = ctypes.addressof(vectors), ctypes.sizeof(_Vector)
        headers = (_Header(addresses + n * _ADDRESS, _ADDRESS, first + n * step, 1) for n in range(SIZE))
        return (_Message * SIZE)(*(_Message(each) for each in headers)), vectors

    def receive(self) -> Iterator[tuple[int, str, bytes]]:
        """What has arrived: the place in the batch, the asker's address, the question."""
        count = self._receive(self._file, self._in, SIZE, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return
        questions, addresses, text = self._questions, self._addresses, socket.inet_ntoa
        at, who = 0, 4
        for place, length in enumerate(self._received[:count].tolist()):
            yield place, text(addresses[who : who + 4]), questions[at : at + length]
            at += SLOT
            who += _ADDRESS

    def peer(self, place: int) -> tuple[str, int]:
        """The asker's address and port."""
        at = place * _ADDRESS
        found = self._addresses[at : at + _ADDRESS]
        return socket.inet_ntoa(found[4:8]), int.from_bytes(found[2:4])

    def put(self, place: int, reply: bytes) -> None:
        """What `send` will answer to the question at this place; not longer than a slot."""
        at, size = place * SLOT, len(reply)
        self._replies[at : at + size] = reply
        self._sizes[place] = size

    def send(self, first: int, end: int) -> int:
        """Send the replies put in at the places from ``first`` to before ``end``. Returns how many were refused."""
        refused = 0
        while first < end:
            start = ctypes.byref(self._out, first * ctypes.sizeof(_Message))
            sent = self._send(self._file, start, end - first, socket.MSG_DONTWAIT)
            if sent <= 0:  # the first one cannot be sent; those behind it may
                refused, sent = refused + 1, 1
            first += sent
        return refused


def _where(room: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(room))


def _column(rows: ctypes.Array[_Message] | ctypes.Array[_Vector], offset: int, kind: str) -> memoryview:
    """One field of all rows."""
    cells = memoryview(rows).cast("B").cast(kind)  # type: ignore[call-overload] # "N" is not known to the stubs
    column: memoryview = cells[offset // cells.itemsize :: ctypes.sizeof(rows) // len(rows) // cells.itemsize]
    return column
