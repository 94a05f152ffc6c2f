"""Answers a second of one DNS process on one core, next to dnsmasq and NSD with the same names.

The server has one core, the load generator (dnsperf) the other. dnsmasq is what a machine would run without a
platform; NSD is about the fastest there is, and knows its zone before it starts. Rounds alternate.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.dns_load import question_bytes
from bench.dns_world import ZONE, BenchWorld
from bench.options import Options
from bench.processes import BenchError, Program, drover, environment, running
from bench.result import Measure, Result, at_least, at_most, median_of, significant

NAME = "dns"
TITLE = "DNS answers of one process on one core"

_HOSTS, _SERVICES, _CONTAINERS = 100, 500, 5000
_OUTSTANDING = 100
_READY_SECONDS = 30.0
_COMPLETED = re.compile(r"Queries completed:\s+(\d+)")
_RATE = re.compile(r"Queries per second:\s+([\d.]+)")


@dataclass(slots=True)
class _Samples:
    rate: list[float] = field(default_factory=list)
    micros: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


async def run(options: Options) -> list[Result]:
    missing = [name for name in ("dnsperf", "dnsmasq", "nsd") if shutil.which(name) is None]
    if missing:
        packages = ", ".join("dnsmasq-base" if name == "dnsmasq" else name for name in missing)
        return [Result(bench=NAME, title=TITLE, skipped=f"needs the Debian packages {packages}")]
    rounds, seconds = (1, 1.0) if options.quick else (5, 6.0)
    work = options.work / NAME
    work.mkdir()
    world = BenchWorld(_HOSTS, _SERVICES, _CONTAINERS)
    samples = {name: _Samples() for name in ("drover", "dnsmasq", "nsd")}
    async with world.served() as metadata:
        questions = _write(world, work)
        async with (
            _drover(metadata, work) as (ours, our_port),
            _dnsmasq(work) as (dnsmasq, dnsmasq_port),
            _nsd(work) as (nsd, nsd_port),
        ):
            servers = {"drover": (ours, our_port), "dnsmasq": (dnsmasq, dnsmasq_port), "nsd": (nsd, nsd_port)}
            idle_memory = ours.memory_mib()
            for number in range(rounds):
                order = list(servers)[number % 3 :] + list(servers)[: number % 3]
                for name in order:
                    await _measure(*servers[name], questions, seconds, samples[name])
            seen = [await _until_seen(world, our_port, number) for number in range(5 if options.quick else 50)]
            per_change = await _changes(world, ours, 50 if options.quick else 1000)
    mine = samples["drover"]
    measures = [
        median_of("Drover: answers a second", mine.rate, goal=at_least(100_000)),
        median_of("Drover: CPU an answer", mine.micros, "µs", goal=at_most(10.0), note="10 µs are 100,000 a second"),
        median_of(
            "Drover: median latency, 100 outstanding",
            mine.p50,
            "µs",
            goal=at_most(2400.0),
            note="with the client's own time",
        ),
        median_of("Drover: 99th percentile", mine.p99, "µs"),
        Measure("Drover: resident memory, no question yet", significant(idle_memory), "MiB", goal=at_most(60.0)),
        median_of("Drover: resident memory, every name asked", mine.memory, "MiB", goal=at_most(60.0)),
        Measure("Drover: CPU a changed container", per_change, "ms", goal=at_most(2.0), note="at 5,000 containers"),
        median_of("Drover: from the news of a change until it is answered", seen, "ms", goal=at_most(300.0)),
        *_rival("dnsmasq", samples["dnsmasq"], mine),
        *_rival("nsd", samples["nsd"], mine),
    ]
    settings = {"hosts": _HOSTS, "services": _SERVICES, "containers": _CONTAINERS, "rounds": rounds}
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=dict(settings))]


def _rival(name: str, rival: _Samples, mine: _Samples) -> list[Measure]:
    ratios = [ours / theirs for ours, theirs in zip(mine.rate, rival.rate, strict=True)]
    return [
        median_of(f"{name}: answers a second", rival.rate),
        median_of(f"{name}: CPU an answer", rival.micros, "µs"),
        median_of(f"{name}: 99th percentile", rival.p99, "µs"),
        median_of(f"Drover's answers a second, {name}'s = 1", ratios, "x"),
    ]


def _write(world: BenchWorld, work: Path) -> Path:
    questions = work / "questions"
    world.write_questions(questions)
    world.write_hosts(work / "hosts")
    world.write_zone(work / "zone")
    return questions


async def _measure(server: Program, port: int, questions: Path, seconds: float, samples: _Samples) -> None:
    client = _other_core()
    await _output("dnsperf", *_load_arguments(port, questions, 0.5), core=client)  # whatever is prepared on demand
    before = server.cpu_seconds()
    text = await _output("dnsperf", *_load_arguments(port, questions, seconds), core=client)
    cpu = server.cpu_seconds() - before
    completed, rate = _COMPLETED.search(text), _RATE.search(text)
    if completed is None or rate is None or not int(completed[1]):
        raise BenchError(f"{server.name} answered nothing:\n{text[-500:]}\n{server.last_words()}")
    samples.rate.append(float(rate[1]))
    samples.micros.append(cpu / int(completed[1]) * 1e6)
    samples.memory.append(server.memory_mib())
    arguments = ("-m", "bench.dns_load", str(port), str(questions), str(seconds / 2), str(_OUTSTANDING))
    latencies = msgspec.json.decode(await _output(sys.executable, *arguments, core=client), type=dict[str, float])
    samples.p50.append(latencies["p50"])
    samples.p99.append(latencies["p99"])


def _load_arguments(port: int, questions: Path, seconds: float) -> Sequence[str]:
    return (
        "-s", "127.0.0.1", "-p", str(port), "-d", str(questions), "-l", str(max(1, round(seconds))),
        "-q", str(_OUTSTANDING), "-t", "1",
    )  # fmt: skip


async def _until_seen(world: BenchWorld, port: int, number: int) -> float:
    """Milliseconds until a container that was told to be unhealthy is left out of its service's answers."""
    wanted = (_CONTAINERS // _SERVICES - 1).to_bytes(2)
    question = question_bytes(f"service{number % 10}.stack{number // 10}.{ZONE}")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        world.flip(number)
        began = time.perf_counter()
        async with asyncio.timeout(_READY_SECONDS):
            while True:
                await loop.sock_sendall(sock, b"\x00\x07" + question)
                if (await loop.sock_recv(sock, 4096))[6:8] == wanted:
                    return (time.perf_counter() - began) * 1000


async def _changes(world: BenchWorld, server: Program, count: int) -> float:
    """Milliseconds of CPU for one changed container, each in a message of its own."""
    before = server.cpu_seconds()
    for number in range(count):
        world.flip(number * 37 % _CONTAINERS)
        await asyncio.sleep(0.001)
    deadline = time.monotonic() + _READY_SECONDS
    while not world.changes.empty() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    return significant((server.cpu_seconds() - before) / count * 1000)


# The servers


@contextlib.asynccontextmanager
async def _drover(metadata: str, work: Path) -> AsyncIterator[tuple[Program, int]]:
    port = _free_port()
    argv = (drover(), "dns", "--listen", f"127.0.0.1:{port}", "--metadata-server", metadata)
    async with _pinned("drover", argv, work, port) as program:
        yield program, port


@contextlib.asynccontextmanager
async def _dnsmasq(work: Path) -> AsyncIterator[tuple[Program, int]]:
    port = _free_port()
    argv = (
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
        f"--pid-file={work / 'dnsmasq.pid'}", "--listen-address=127.0.0.1", "--bind-interfaces", f"--port={port}",
        f"--addn-hosts={work / 'hosts'}", f"--local=/{ZONE}/", "--local-ttl=600",
    )  # fmt: skip
    async with _pinned("dnsmasq", argv, work, port) as program:
        yield program, port


@contextlib.asynccontextmanager
async def _nsd(work: Path) -> AsyncIterator[tuple[Program, int]]:
    port = _free_port()
    lines = [
        "server:",
        f" ip-address: 127.0.0.1@{port}",
        " server-count: 1",
        ' username: ""',
        ' database: ""',
        f' zonesdir: "{work}"',
        f' pidfile: "{work}/nsd.pid"',
        f' xfrdfile: "{work}/xfrd"',
        f' zonelistfile: "{work}/zones"',
        " round-robin: yes",
        "remote-control:",
        " control-enable: no",
        "zone:",
        f" name: {ZONE}",
        " zonefile: zone",
    ]
    (work / "nsd.conf").write_text("\n".join(lines) + "\n")
    async with _pinned("nsd", ("nsd", "-d", "-c", str(work / "nsd.conf")), work, port) as program:
        yield _worker(program), port


def _worker(program: Program) -> Program:
    """NSD's only server process, which answers; the others wait for zone transfers."""
    children = _children(program.pid)
    grown = [child for pid in children for child in (_children(pid) or [pid])]
    return Program(program.name, max(grown, default=program.pid), program.log)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.asynccontextmanager
async def _pinned(name: str, argv: Sequence[str], work: Path, port: int) -> AsyncIterator[Program]:
    """A server on the first core, from the moment that it knows the names."""
    first = min(os.sched_getaffinity(0))
    async with running(name, ("taskset", "-c", str(first), *argv), work / f"{name}.log") as program:
        deadline = time.monotonic() + _READY_SECONDS
        while not await asyncio.to_thread(_answers, port):
            if time.monotonic() > deadline:
                raise BenchError(f"{name} does not answer: {program.last_words()}")
        yield program


def _answers(port: int) -> bool:
    """Whether a service's name has all its addresses."""
    question = question_bytes(f"service0.stack0.{ZONE}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        try:
            sock.send(b"\x00\x07" + question)
            return sock.recv(4096)[6:8] == (_CONTAINERS // _SERVICES).to_bytes(2)
        except OSError:
            time.sleep(0.1)
            return False


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _other_core() -> int:
    return max(os.sched_getaffinity(0))


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
