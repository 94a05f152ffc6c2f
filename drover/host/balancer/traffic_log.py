"""HAProxy's log, where the balancer's owner asked for it with `log 127.0.0.1:8514 …`: to the container's own output.

HAProxy speaks syslog over UDP. Errors go to standard error, everything else to standard output, a line each, as they
are. Without such a line in the custom configuration nothing arrives here.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

import structlog

ADDRESS = ("127.0.0.1", 8514)

_PRIORITY = re.compile(rb"<(\d{1,3})>")
_ERROR = 3  # syslog: emergency, alert, critical, error

log = structlog.get_logger(__name__)


class TrafficLog(asyncio.DatagramProtocol):
    def __init__(self, output: TextIO | None = None, errors: TextIO | None = None) -> None:
        self._output = output or sys.stdout
        self._errors = errors or sys.stderr

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        found = _PRIORITY.match(data)
        severity = int(found[1]) % 8 if found else _ERROR + 1
        text = (data[found.end() :] if found else data).decode(errors="replace").rstrip()
        target = self._errors if severity <= _ERROR else self._output
        # What a visitor sends is in the line: nothing of it may look like another line or steer a terminal.
        target.write("".join(char if char.isprintable() else "?" for char in text) + "\n")
        target.flush()


@asynccontextmanager
async def receiving(address: tuple[str, int] = ADDRESS) -> AsyncIterator[int | None]:
    """Receive while the block runs; yields the port, or None when somebody else has the address already."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(TrafficLog, local_addr=address)
    except OSError as error:
        log.warning("balancer.no_traffic_log", address=f"{address[0]}:{address[1]}", reason=error.strerror)
        yield None
        return
    try:
        yield int(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()
