"""A server under measurement, and the simulated hosts that give it work."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.processes import BenchError, Program, drover, running

_ANSWER_SECONDS = 60.0
_HOSTS_SECONDS = 180.0
_READY_POLL_SECONDS = 0.005
_SAMPLE = re.compile(r"^(\w+) ([-+.\deE]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Seconds from the start of the program until it answered."""

    healthz: float
    api: float


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A server with SQLite and without access control, on a free port of the loopback interface."""

    program: Program
    session: aiohttp.ClientSession
    url: str
    data_dir: Path
    ready: Readiness

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def environment(self) -> str:
        """The API address of the default environment."""
        return f"{self.url}/v2-beta/projects/1a5"

    async def get(self, path: str) -> dict[str, Any]:
        return await self._call("GET", path)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("PUT", path, body)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.environment}/{path}"
        async with self.session.request(method, url, json=body) as response:
            text = await response.read()
            if response.status >= 400:
                raise BenchError(f"{method} {url}: {response.status}: {text.decode(errors='replace')[:500]}")
        answer: dict[str, Any] = msgspec.json.decode(text)
        return answer

    async def metric(self, name: str) -> float:
        async with self.session.get(f"{self.url}/metrics") as response:
            text = await response.text()
        found = dict(_SAMPLE.findall(text))
        if name not in found:
            raise BenchError(f"{self.url}/metrics has no {name}")
        return float(found[name])

    def count(self, table: str, state: str) -> int:
        """Rows in a state, read from the database file: asking the server would be work that is measured with it."""
        path = self.data_dir / "drover.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            statement = f"SELECT count(*) FROM {table} WHERE state = ? AND removed IS NULL"
            return int(connection.execute(statement, (state,)).fetchone()[0])


@contextlib.asynccontextmanager
async def bench_server(data_dir: Path) -> AsyncIterator[BenchServer]:
    """A server on ``data_dir``, on a fresh database if there is none yet."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = (drover(), "server", "--auth=none", f"--data-dir={data_dir}", f"--listen=127.0.0.1:{port}")
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        began = time.monotonic()
        async with running("server", argv, data_dir / "server.log") as program:
            healthz = await _until_answers(session, f"{url}/healthz", program, began)
            api = await _until_answers(session, f"{url}/v2-beta", program, began)
            yield BenchServer(program, session, url, data_dir, Readiness(healthz, api))


async def _until_answers(session: aiohttp.ClientSession, url: str, program: Program, began: float) -> float:
    while True:
        try:
            async with session.get(url) as response:
                if response.status == 200:
                    await response.read()
                    return time.monotonic() - began
        except (aiohttp.ClientConnectionError, OSError):
            pass  # not listening yet
        if time.monotonic() - began > _ANSWER_SECONDS:
            raise BenchError(f"{url} does not answer; the server's last words:\n{program.last_words()}")
        await asyncio.sleep(_READY_POLL_SECONDS)


@contextlib.asynccontextmanager
async def simulated_hosts(server: BenchServer, count: int, *, latency_ms: float = 0.0) -> AsyncIterator[Program]:
    """Hosts in a process of their own, all of them active before the block begins."""
    argv = (drover(), "simulate", f"--hosts={count}", f"--url={server.url}", f"--latency={latency_ms}")
    async with running("simulator", argv, server.data_dir / "simulator.log") as program:
        deadline = time.monotonic() + _HOSTS_SECONDS
        while (active := server.count("host", "active")) < count:
            if time.monotonic() > deadline:
                raise BenchError(f"{active} of {count} hosts are active; the simulator:\n{program.last_words()}")
            await asyncio.sleep(0.1)
        yield program


async def create_service(server: BenchServer, name: str, scale: int, **values: Any) -> str:
    """A stack with one service; returns the service's id once all of its containers run."""
    stack = await server.post("stacks", {"name": f"stack-{name}"})
    body = {
        "name": name,
        "stackId": stack["id"],
        "scale": scale,
        "startOnCreate": True,
        "launchConfig": {"imageUuid": "docker:bench/web:1"},
        **values,
    }
    service = await server.post("services", body)
    await until_service(server, service["id"], "active", timeout=60.0)
    return str(service["id"])


async def until_service(
    server: BenchServer, service_id: str, state: str, *, timeout: float, poll: float = 0.05
) -> dict[str, Any]:
    """The service once it is in ``state``."""
    deadline = time.monotonic() + timeout
    while True:
        service = await server.get(f"services/{service_id}")
        if service["state"] == state:
            return service
        if time.monotonic() > deadline:
            raise BenchError(
                f"service {service_id} is {service['state']!r} instead of {state!r} after {timeout:g} s: "
                f"{service.get('transitioningMessage')}; the server's log: {server.program.last_words()}"
            )
        await asyncio.sleep(poll)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
