"""A server under measurement, and the simulated hosts that give it work."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.api import Api
from bench.processes import BenchError, Program, drover, running

_ANSWER_SECONDS = 60.0
_HOSTS_SECONDS = 180.0
_READY_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Readiness:
    """Seconds from the start of the program until it answered."""

    healthz: float
    api: float


@dataclass(frozen=True, slots=True)
class BenchServer(Api):
    """A server with SQLite and without access control, on a free port of the loopback interface."""

    program: Program
    data_dir: Path
    ready: Readiness

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

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
            yield BenchServer(session, url, program, data_dir, Readiness(healthz, api))


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
