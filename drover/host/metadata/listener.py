"""The listening socket and everything its connections share: limits, the memory of responses, long polls, streams."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from drover.client.world import Delta
from drover.common.errors import DroverError
from drover.host.metadata.answers import Answers
from drover.host.metadata.connection import Connection
from drover.host.metadata.memo import Memo
from drover.host.metadata.publication import Publication
from drover.host.metadata.streams import KEEPALIVE_SECONDS, Streams

PER_ADDRESS = 2048
IN_TOTAL = 8192
IDLE_SECONDS = 120.0
"""A connection without a request, or one that takes nothing of what it asked for, ends after this time."""
_BACKLOG = 4096
# Clients are on the host's bridges, which are its own; IPv4, as the metadata address is.
_EVERY_ADDRESS = "0.0.0.0"  # noqa: S104

log = structlog.get_logger(__name__)


class CannotListen(DroverError):
    """The address is taken or not ours."""


class Listener:
    """Serves a publication. Use `listening` to open a port for it."""

    def __init__(self, publication: Publication, *, trusts_forwarded: bool = False) -> None:
        self.publication = publication
        self.answers = Answers(publication)
        self.memo = Memo()
        self.streams = Streams(publication.world)
        self.trusts_forwarded = trusts_forwarded
        self.waiting: dict[Connection, None] = {}
        self.answered = 0
        self._connections: set[Connection] = set()
        self._addresses: Counter[str] = Counter()
        self._refused: set[str] = set()
        publication.listeners.append(self._changed)

    @property
    def connections(self) -> int:
        return len(self._connections)

    @asynccontextmanager
    async def listening(self, host: str, port: int, *, shared: bool = False) -> AsyncIterator[int]:
        """Accept connections at the address; gives the port, which matters when 0 was asked for.

        Raises CannotListen. At the end all connections are cut: clients ask again, whoever answers then.
        """
        loop = asyncio.get_running_loop()
        address = host or _EVERY_ADDRESS
        try:
            server = await loop.create_server(
                lambda: Connection(self), address, port, backlog=_BACKLOG, reuse_port=shared or None
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen at {address}:{port}: {error.strerror or error}. "
                "Choose another address with --listen, or stop the program that has this one"
            ) from error
        upkeep = asyncio.create_task(self._upkeep(), name="metadata-upkeep")
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            upkeep.cancel()
            server.close()
            for connection in list(self._connections):
                connection.abort()
            await asyncio.gather(upkeep, return_exceptions=True)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in, unless there are too many."""
        client = connection.client
        if len(self._connections) >= IN_TOTAL or self._addresses[client] >= PER_ADDRESS:
            if client not in self._refused:
                # Once, until this client is gone: whoever floods the service must not flood the log as well.
                self._refused.add(client)
                log.warning("connection.refused", client=client, open=len(self._connections))
            return False
        self._connections.add(connection)
        self._addresses[client] += 1
        return True

    def dismiss(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self.streams.close(connection)
        client = connection.client
        self._addresses[client] -= 1
        if not self._addresses[client]:
            del self._addresses[client]
            self._refused.discard(client)
            self.memo.release(client)

    def end_idle(self, before: float) -> None:
        """End the connections that did nothing since `before`, by the loop's clock."""
        for connection in list(self._connections):
            connection.end_if_idle(before)

    def _changed(self, delta: Delta) -> None:
        self.memo.clear()
        self.streams.apply(delta)
        for connection in list(self.waiting):
            connection.look_again()

    async def _upkeep(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            self.streams.keep_alive()
            self.end_idle(clock() - IDLE_SECONDS)
