"""Real proxies and servers for tests: small HTTP servers, clients that count failures, a HAProxy of one's own."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from drover.host.balancer.certificates import Bundle
from drover.host.balancer.haproxy import HAProxy
from drover.host.balancer.model import Backend, Frontend, Model, Protocol, Route, Server
from drover.host.balancer.render import Layout

HAVE_HAPROXY = shutil.which("haproxy") is not None
NOTHING = Bundle()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Site:
    """An HTTP server on an address of its own; every answer names the address."""

    address: str
    port: int
    delay: float = 0.0
    requests: int = 0
    seen: list[str] = field(default_factory=list)
    server: asyncio.Server | None = None

    async def start(self) -> Site:
        self.server = await asyncio.start_server(self._serve, self.address, self.port)
        return self

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            self.seen.append(head.decode())
            if self.delay:
                await asyncio.sleep(self.delay)
            body = self.address.encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()


@asynccontextmanager
async def sites(count: int, *, port: int, first: int = 1, delay: float = 0.0) -> AsyncIterator[list[Site]]:
    made = [await Site(f"127.0.7.{first + index}", port, delay).start() for index in range(count)]
    try:
        yield made
    finally:
        for each in made:
            await each.stop()


async def get(port: int, path: str = "/", host: str = "example.com", *, extra: str = "") -> tuple[int, str]:
    """Status and body of a request; (0, reason) when there is no answer."""
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n".encode())
                answer = (await reader.read(-1)).decode()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        return 0, repr(error)
    head, _, body = answer.partition("\r\n\r\n")
    return (int(head.split()[1]), body) if head else (0, "closed")


@dataclass
class Load:
    """Clients that ask without pause and remember every failure."""

    port: int
    answered: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)
    by_body: dict[str, int] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self, clients: int = 6) -> AsyncIterator[Load]:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._ask(stop))
            try:
                yield self
            finally:
                stop.set()

    async def _ask(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            status, body = await get(self.port)
            if status == 200:
                self.answered += 1
                self.by_body[body] = self.by_body.get(body, 0) + 1
            else:
                self.failed.append((status, body))
            await asyncio.sleep(0)

    async def until(self, more: int) -> None:
        """Wait for this many further answers."""
        goal = self.answered + more
        async with asyncio.timeout(30):
            while self.answered < goal:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def haproxy(folder: Path) -> AsyncIterator[HAProxy]:
    proxy = HAProxy(layout(folder))
    async with running(proxy):
        yield proxy


def layout(folder: Path) -> Layout:
    return Layout.standard(folder / "etc", folder / "run", health_bind=f"127.0.0.1:{free_port()}")


@asynccontextmanager
async def running(proxy: HAProxy) -> AsyncIterator[None]:
    task = asyncio.create_task(proxy.run())
    try:
        await asyncio.wait_for(proxy.ready(), 10)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await proxy.stop(0.5)


def simple(port: int, servers: list[Server], **more: object) -> Model:
    """A model of one frontend with one backend."""
    return Model(
        (Frontend(port, Protocol.HTTP, (Route("web"),)),),
        (Backend("web", True, tuple(servers)),),
        **more,  # type: ignore[arg-type]
    )
