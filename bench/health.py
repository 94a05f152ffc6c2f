"""Health checks: what many checked containers cost a server while nothing changes, and a checker all the time.

The containers live on simulated hosts that report them well once, as real checkers do. Then nothing happens, and
nothing is what the server should do. The checker is a real one: it connects to a real listener in its rhythm.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import sqlite3
import time
from collections.abc import Iterator

from bench.options import Options
from bench.processes import MIB, BenchError
from bench.result import Measure, Result, at_most, significant
from bench.server import BenchServer, bench_server, simulated_hosts
from drover.client.world import Container, Environment, Full, HealthCheck, Host, World
from drover.host.health.checker import Checker
from drover.host.health.reports import Reports

NAME = "health"
TITLE = "Health checks: many containers that stay well"

_STATEMENTS = "drover_store_statements_total"
_CHECK = {"port": 80, "interval": 2000, "responseTimeout": 2000, "healthyThreshold": 2, "unhealthyThreshold": 3}
_INTERVAL_MS = 2000
_PER_SERVICE = 500
_HEALTHY_SECONDS = 900.0


async def run(options: Options) -> list[Result]:
    return [await _server(options), await _checker(options)]


async def _server(options: Options) -> Result:
    hosts, containers, seconds = (3, 60, 4.0) if options.quick else (20, 10_000, 30.0)
    changes = 10 if options.quick else 50
    async with bench_server(options.work / NAME) as server, simulated_hosts(server, hosts):
        began, first_cpu = time.monotonic(), server.program.cpu_seconds()
        launch = {"imageUuid": "docker:bench/web:1", "healthCheck": _CHECK}
        for number, present in enumerate(range(0, containers, _PER_SERVICE)):
            scale = min(_PER_SERVICE, containers - present)
            await server.start_service(f"web-{number}", scale, launchConfig=launch)
            await _until_healthy(server, present + scale, began + _HEALTHY_SECONDS)
        healthy, launch_cpu = time.monotonic() - began, server.program.cpu_seconds() - first_cpu
        await asyncio.sleep(2.0 if options.quick else 10.0)
        statements, cpu = await server.metric(_STATEMENTS), server.program.cpu_seconds()
        await asyncio.sleep(seconds)
        cpu = server.program.cpu_seconds() - cpu
        statements = await server.metric(_STATEMENTS) - statements
        memory = server.program.memory_mib()
        per_change = await _restarts(server, changes, containers)
    measures = (
        Measure("from nothing to all healthy", significant(healthy), "s"),
        Measure(
            "from nothing to all healthy: server CPU a container", significant(launch_cpu / containers * 1000), "ms"
        ),
        Measure("nothing changes: server CPU", significant(cpu / seconds * 100), "% of a core", goal=at_most(2.0)),
        Measure("nothing changes: statements", significant(statements / seconds), "/s"),
        Measure("a container restarts: server CPU until it is healthy", significant(per_change), "ms"),
        Measure("resident memory of the server", significant(memory), "MiB"),
    )
    settings: dict[str, float | int | str] = {"hosts": hosts, "containers": containers, "seconds_watched": seconds}
    return Result(bench=NAME, title=TITLE, measures=measures, settings=settings)


async def _restarts(server: BenchServer, count: int, containers: int) -> float:
    """Milliseconds of the server's CPU for one container that starts again and is found to be well again."""
    found = await server.get(f"containers?limit={count}&state=running")
    cpu = server.program.cpu_seconds()
    for each in found["data"]:
        await server.post(f"containers/{each['id']}?action=restart", {})
    await asyncio.sleep(1.0)
    await _until_healthy(server, containers, time.monotonic() + _HEALTHY_SECONDS)
    return (server.program.cpu_seconds() - cpu) / len(found["data"]) * 1000


async def _until_healthy(server: BenchServer, containers: int, deadline: float) -> None:
    """Read from the database file: polling the server would be work that is measured with its own."""
    while (found := _healthy(server)) < containers:
        if time.monotonic() > deadline:
            raise BenchError(f"{found} of {containers} containers are healthy; {server.program.last_words()}")
        await asyncio.sleep(0.1)


def _healthy(server: BenchServer) -> int:
    path = server.data_dir / "drover.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        statement = (
            "SELECT count(*) FROM instance WHERE health_state = 'healthy' AND state = 'running' AND removed IS NULL"
        )
        return int(connection.execute(statement).fetchone()[0])


async def _checker(options: Options) -> Result:
    """The checker runs in this process, which does nothing else meanwhile; what it connects to has its own."""
    checks, seconds = (50, 4.0) if options.quick else (1000, 30.0)
    with _listener() as port:
        world = World()
        checker = Checker(world, Reports("http://127.0.0.1:1/v1", "", ""))
        checker.follow(world.apply(_world(checks, port)))
        task = asyncio.create_task(checker.run())
        await asyncio.sleep(_INTERVAL_MS / 1000 + 1.0)
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        cpu = (time.process_time() - cpu) / (time.monotonic() - began)
        up, late = checker.count()["up"], checker.schedule.late
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if up < checks:
        raise BenchError(f"{up} of {checks} targets are up: the machine is too busy to measure")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    measures = (
        Measure("checker CPU", significant(cpu * 100), "% of a core"),
        Measure("turns that came too late", late, ""),
        Measure("peak resident memory, bench included", significant(memory), "MiB"),
    )
    settings: dict[str, float | int | str] = {"checks": checks, "interval_ms": _INTERVAL_MS, "seconds_watched": seconds}
    return Result(bench=f"{NAME}-checker", title="A checker with many TCP checks", measures=measures, settings=settings)


def _world(checks: int, port: int) -> Full:
    check = HealthCheck(port=port, interval=_INTERVAL_MS)
    containers = (
        Container(
            uuid=f"c{number}",
            state="running",
            host_uuid="h",
            primary_ip="127.0.0.1",
            start_count=1,
            health_check=check,
            health_check_hosts=("h",),
        )
        for number in range(checks)
    )
    return Full(epoch="e", revision=1, objects=(Environment(uuid="e"), Host(uuid="h"), *containers), host="h")


@contextlib.contextmanager
def _listener() -> Iterator[int]:
    """A process that takes connections; yields its port."""
    context = multiprocessing.get_context("spawn")
    ports: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_serve, args=(ports,), daemon=True)
    process.start()
    try:
        yield ports.get(timeout=30)
    finally:
        process.terminate()
        process.join(10)


def _serve(ports: multiprocessing.Queue[int]) -> None:
    async def serve() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0, backlog=4096)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
