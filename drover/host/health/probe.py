"""One look at a target: connect, and for an HTTP check ask and read the status."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Protocol

from drover.host.health.checklist import Target
from drover.host.health.request_line import BadRequestLine, request_of

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LONGEST_STATUS_LINE = 4096
_GOOD = range(200, 400)


class Probe(Protocol):
    """How to look at a target: None when it is well, else the reason why it is not. Raises nothing."""

    async def __call__(self, target: Target) -> str | None: ...


async def probe(target: Target) -> str | None:
    """Probe over the network. A connect check ends with a reset, which leaves nothing behind on either side."""
    try:
        request = None if target.request_line is None else request_of(target.request_line)
        return await _look(target, request)
    except BadRequestLine as error:
        return f"request line: {error}"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)


async def _look(target: Target, request: bytes | None) -> str | None:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        try:
            async with asyncio.timeout(target.connect_timeout):
                await loop.sock_connect(connection, (target.address, target.port))
        except TimeoutError:
            return f"no connection within {target.connect_timeout:g} s"
        if request is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            return None
        try:
            async with asyncio.timeout(target.read_timeout):
                await loop.sock_sendall(connection, request)
                return judge(await _status_line(loop, connection))
        except TimeoutError:
            return f"no answer within {target.read_timeout:g} s"


async def _status_line(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    received = b""
    while b"\n" not in received and len(received) < _LONGEST_STATUS_LINE:
        part = await loop.sock_recv(connection, _LONGEST_STATUS_LINE)
        if not part:
            break
        received += part
    return received.partition(b"\n")[0].rstrip(b"\r")


def judge(status_line: bytes) -> str | None:
    """None for a status of 200 to 399, else what is wrong with the answer."""
    if not status_line:
        return "the connection was closed without an answer"
    version, _, rest = status_line.partition(b" ")
    status = rest.strip()[:3]
    if not version.startswith(b"HTTP/1.") or len(status) != 3 or not status.isdigit():
        return f"no HTTP answer: {status_line[:60]!r}"
    return None if int(status) in _GOOD else f"status {status.decode()}"
