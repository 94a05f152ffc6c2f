"""Answers a second of one metadata server on one core, next to nginx with files of the same contents.

The server has one core, the load generator (wrk, without pipelining) the other. nginx answers every client alike and
never has to change its mind; a static file is what an answer could cost at best. Rounds alternate.

How long an answer takes is measured twice. While wrk asks for as much as it can get, that is the queue that it makes
itself: clients by rate. What a host's containers see is an answer at a load that leaves the server time (`http_load`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from bench.metadata_world import MetadataWorld
from bench.options import Options
from bench.processes import BenchError, Program, drover, environment, running
from bench.result import Goal, Measure, Result, at_least, at_most, median_of, significant

NAME = "metadata"
TITLE = "Metadata answers of one process on one core"

_HOSTS, _SERVICES, _CONTAINERS = 100, 500, 5000
_WAITERS = 1000
_READY_SECONDS = 30.0
_CLIENT = "10.42.4.1"
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_COMPLETED = re.compile(r"(\d+) requests in")
_SLOWEST = re.compile(r"^\s+99%\s+([\d.]+)(us|ms|s)", re.MULTILINE)
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked again and again, by so many clients: as often as they can, and ``steady`` times a second."""

    name: str
    path: str
    accept: str
    clients: int
    goal: Goal
    steady: int = 0


_QUESTIONS = (
    _Question("a short text", "/latest/self/container/name", "*/*", 32, at_least(50_000), 10_000),
    _Question("`self` as JSON", "/latest/self", "application/json", 32, at_least(40_000), 10_000),
    _Question("`containers` as JSON", "/latest/containers", "application/json", 4, at_least(200), 100),
)


@dataclass(frozen=True, slots=True)
class _Load:
    """What a load showed: answers a second, the 99th percentile in milliseconds, microseconds of CPU an answer."""

    rate: float
    slowest: float
    micros: float


class _Latency(msgspec.Struct, frozen=True):
    """At a steady load, in milliseconds."""

    p50: float
    p99: float


@dataclass(slots=True)
class _Samples:
    ours: list[_Load] = field(default_factory=list)
    theirs: list[_Load] = field(default_factory=list)
    our_latency: list[_Latency] = field(default_factory=list)
    their_latency: list[_Latency] = field(default_factory=list)
    size: int = 0

    def of_ours(self) -> tuple[list[_Load], list[_Latency]]:
        return self.ours, self.our_latency

    def of_theirs(self) -> tuple[list[_Load], list[_Latency]]:
        return self.theirs, self.their_latency


async def run(options: Options) -> list[Result]:
    missing = [package for program, package in (("wrk", "wrk"), ("nginx", "nginx-light")) if not shutil.which(program)]
    if missing:
        return [Result(bench=NAME, title=TITLE, skipped=f"needs the Debian packages {', '.join(missing)}")]
    rounds, seconds = (1, 1) if options.quick else (5, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
    work = options.work / NAME
    work.mkdir()
    world = MetadataWorld(_HOSTS, _SERVICES, _CONTAINERS)
    samples = {question: _Samples() for question in _QUESTIONS}
    async with world.served() as server, _drover(server, work) as (ours, port):
        known = Measure("resident memory, 5,000 containers known", significant(ours.memory_mib()), "MiB")
        for question in _QUESTIONS:
            samples[question].size = await _save(question, port, work)
        async with _nginx(work) as (nginx, nginx_port):
            for number in range(rounds):
                for question, found in samples.items():
                    mine, rival = (ours, port, question.path), (nginx, nginx_port, f"{question.path}/index")
                    for each in (mine, rival) if number % 2 == 0 else (rival, mine):
                        loads, latencies = found.of_ours() if each is mine else found.of_theirs()
                        loads.append(await _load(*each, question, seconds))
                        latencies.append(await _latency(each[1], each[2], question, 1 if options.quick else 2))
        changing = await _while_changing(world, ours, port, seconds)
        per_change = await _changes(world, ours, 50 if options.quick else 500)
        woken = [await _wake(world, port) for _ in range(rounds)]
        memory = Measure("resident memory, everything asked", significant(ours.memory_mib()), "MiB", at_most(80.0))
    measures = [row for question, found in samples.items() for row in _rows(question, found)]
    measures += [
        Measure("a short text while 20 containers a second change", changing.rate, "/s"),
        Measure("its 99th percentile", changing.slowest, "ms", at_most(5.0)),
        Measure("CPU of a changed container", per_change, "ms", at_most(20.0)),
        median_of(f"{_WAITERS} long polls woken, the last after", woken, "ms", goal=at_most(100.0)),
        known,
        memory,
    ]
    settings = {"hosts": _HOSTS, "services": _SERVICES, "containers": _CONTAINERS, "rounds": rounds}
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=dict(settings))]


def _rows(question: _Question, found: _Samples) -> list[Measure]:
    name, ours, theirs = question.name, found.ours, found.theirs
    ratios = [mine.rate / rival.rate for mine, rival in zip(ours, theirs, strict=True)]
    note = f"the goal as CPU: {1e6 / question.goal.bound:g} µs"
    return [
        median_of(name, [each.rate for each in ours], "/s", goal=question.goal, note=f"{found.size:,} bytes"),
        median_of(f"{name}: CPU", [each.micros for each in ours], "µs", note=note),
        median_of(
            f"{name}: 99th percentile, as fast as it can",
            [each.slowest for each in ours],
            "ms",
            note=f"{question.clients} clients that never pause: the queue they make",
        ),
        median_of(f"{name}: median at {question.steady:,}/s", [each.p50 for each in found.our_latency], "ms"),
        median_of(
            f"{name}: 99th percentile at {question.steady:,}/s",
            [each.p99 for each in found.our_latency],
            "ms",
            goal=at_most(5.0),
        ),
        median_of(
            f"{name}: nginx, 99th percentile at {question.steady:,}/s",
            [each.p99 for each in found.their_latency],
            "ms",
        ),
        median_of(f"{name}: nginx with a file", [each.rate for each in theirs], "/s"),
        median_of(f"{name}: nginx, CPU", [each.micros for each in theirs], "µs"),
        median_of(f"{name}: rate, nginx = 1", ratios, "x"),
    ]


async def _save(question: _Question, port: int, work: Path) -> int:
    """Put the answer where nginx takes it from."""
    body = await _get(port, question)
    path = work / "html" / question.path.lstrip("/") / "index"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return len(body)


async def _get(port: int, question: _Question) -> bytes:
    headers = {"Accept": question.accept, "X-Forwarded-For": _CLIENT}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{question.path}", headers=headers) as answer,
    ):
        if answer.status != 200:
            raise BenchError(f"{question.path} answered {answer.status}")
        return await answer.read()


async def _load(server: Program, port: int, path: str, question: _Question, seconds: int) -> _Load:
    before = server.cpu_seconds()
    text = await _output(
        "wrk", "-t1", f"-c{question.clients}", f"-d{seconds}", "--latency", "-H", f"Accept: {question.accept}",
        "-H", f"X-Forwarded-For: {_CLIENT}", f"http://127.0.0.1:{port}{path}",
        core=max(os.sched_getaffinity(0)),
    )  # fmt: skip
    cpu = server.cpu_seconds() - before
    rate, slowest, completed = _RATE.search(text), _SLOWEST.search(text), _COMPLETED.search(text)
    if rate is None or slowest is None or completed is None or _FAILED.search(text):
        raise BenchError(f"the load on {path} failed:\n{text[-500:]}\n{server.last_words()}")
    return _Load(
        rate=float(rate[1]),
        slowest=float(slowest[1]) * _MILLISECONDS[slowest[2]],
        micros=cpu / max(1, int(completed[1])) * 1e6,
    )


async def _latency(port: int, path: str, question: _Question, seconds: int) -> _Latency:
    text = await _output(
        sys.executable, "-m", "bench.http_load", str(port), path, question.accept, _CLIENT, str(seconds),
        str(question.steady), str(question.clients), core=max(os.sched_getaffinity(0)),
    )  # fmt: skip
    return msgspec.json.decode(text, type=_Latency)


async def _while_changing(world: MetadataWorld, server: Program, port: int, seconds: int) -> _Load:
    """The short text again, while containers change."""

    async def change() -> None:
        while True:
            await world.flip(world.revision * 37 % _CONTAINERS)
            await asyncio.sleep(0.05)

    changing = asyncio.create_task(change())
    try:
        return await _load(server, port, _QUESTIONS[0].path, _QUESTIONS[0], seconds)
    finally:
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)


async def _changes(world: MetadataWorld, server: Program, count: int) -> float:
    """Milliseconds of CPU for one changed container, each in a message of its own."""
    before = server.cpu_seconds()
    for number in range(count):
        await world.flip(number * 37 % _CONTAINERS)
        await asyncio.sleep(0.002)
    await asyncio.sleep(0.3)
    return significant((server.cpu_seconds() - before) / count * 1000)


async def _wake(world: MetadataWorld, port: int) -> float:
    """Milliseconds from the server's message until the last of many clients has its answer."""
    version = (await _get(port, _Question("", "/latest/version", "*/*", 1, at_least(0)))).decode()
    request = f"GET /latest/version?wait=true&value={version}&maxWait=60 HTTP/1.1\r\nHost: metadata\r\n\r\n".encode()
    clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(_WAITERS)]
    try:
        for _, writer in clients:
            writer.write(request)
        await asyncio.sleep(0.5)
        begun = time.perf_counter()
        await world.flip(0)
        async with asyncio.timeout(10.0):
            for reader, _ in clients:
                await reader.readuntil(b"\r\n\r\n")
        return (time.perf_counter() - begun) * 1000
    finally:
        for _, writer in clients:
            writer.close()


# The servers


@contextlib.asynccontextmanager
async def _drover(server: str, work: Path) -> AsyncIterator[tuple[Program, int]]:
    port = _free_port()
    argv = (drover(), "metadata", "--server-url", server, "--access-key", "bench", "--secret-key", "bench",
            "--listen", f"127.0.0.1:{port}", "--xff")  # fmt: skip
    async with _pinned("drover", argv, work, port, "/latest/version") as program:
        yield program, port


@contextlib.asynccontextmanager
async def _nginx(work: Path) -> AsyncIterator[tuple[Program, int]]:
    port = _free_port()
    lines = [
        "daemon off; master_process off; worker_processes 1; user root; error_log stderr error;",
        f"pid {work}/nginx.pid;",
        "events { worker_connections 4096; }",
        "http {",
        " access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;",
        " open_file_cache max=100; open_file_cache_valid 60s;",
        *(f" {name}_temp_path {work}/temp;" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        f" server {{ listen 127.0.0.1:{port}; root {work}/html; }}",
        "}",
    ]
    (work / "nginx.conf").write_text("\n".join(lines) + "\n")
    argv = ("nginx", "-c", str(work / "nginx.conf"), "-e", "stderr")
    async with _pinned("nginx", argv, work, port, f"{_QUESTIONS[0].path}/index") as program:
        yield program, port


@contextlib.asynccontextmanager
async def _pinned(name: str, argv: Sequence[str], work: Path, port: int, path: str) -> AsyncIterator[Program]:
    """A server on the first core, from the moment that it answers."""
    first = min(os.sched_getaffinity(0))
    async with running(name, ("taskset", "-c", str(first), *argv), work / f"{name}.log") as program:
        deadline = time.monotonic() + _READY_SECONDS
        ready = _Question("", path, "*/*", 1, at_least(0))
        while True:
            try:
                await _get(port, ready)
                break
            except (aiohttp.ClientError, BenchError) as error:
                if time.monotonic() > deadline:
                    raise BenchError(f"{name} does not answer: {program.last_words()}") from error
                await asyncio.sleep(0.1)
        yield program


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _output(*argv: str, core: int) -> str:
    process = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(core), *argv,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=environment(),
    )  # fmt: skip
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    if process.returncode != 0:
        raise BenchError(f"{argv[0]} failed: {output.decode(errors='replace')[-500:]}")
    return output.decode()
