"""Throughput from container to container through the routers, next to a plain veth between the same containers.

Hosts are network namespaces joined by a bridge; each has a router and a container, and translates addresses as the
network manager does. What is measured is therefore the whole way of a packet but for the wire: out of the container,
through its host's bridge, the router, the host's address translation, and the same on the other side. Both hosts share
this machine's cores, so the ratio to the plain veth says more than the rate.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from bench.options import Options
from bench.processes import BenchError, Program
from bench.result import Measure, Result, at_least, at_most, median_of, significant
from drover.client.world.objects import Object
from tests.host.network.routers.underlay import (
    FABRIC_ADDRESS,
    Node,
    Underlay,
    WorldStream,
    container,
    environment,
    eventually,
    inside_command,
    pings,
    sh,
    underlay,
)

NAME = "routers"
TITLE = "Container to container, through the routers of two hosts"

_CONTAINERS = 20_000
_DIRECT = ("172.31.255.1", "172.31.255.2")
_CHARON = Path("/usr/lib/ipsec/charon")
_READY_SECONDS = 60.0


async def run(options: Options) -> list[Result]:
    missing = [name for name in ("iperf3", "ip", "iptables") if shutil.which(name) is None]
    if not _CHARON.exists():
        missing.append("strongswan-charon libcharon-extra-plugins strongswan-swanctl")
    if missing:
        return [Result(bench=NAME, title=TITLE, skipped=f"needs the Debian packages {', '.join(missing)}")]
    if os.geteuid() != 0:
        return [Result(bench=NAME, title=TITLE, skipped="network namespaces need root")]
    rounds, seconds = (1, 1) if options.quick else (5, 5)
    work = options.work / NAME
    work.mkdir()
    rates: dict[str, list[float]] = {"plain": [], "vxlan": [], "ipsec": []}
    async with AsyncExitStack() as stack:
        vxlan = await stack.enter_async_context(_routed("vxlan", work))
        ipsec = await stack.enter_async_context(_routed("ipsec", work))
        _join(vxlan)
        ways = {"plain": (vxlan, _DIRECT[1]), "vxlan": (vxlan, ""), "ipsec": (ipsec, "")}
        for number in range(rounds):
            order = list(ways)[number % 3 :] + list(ways)[: number % 3]
            for name in order:
                hosts, address = ways[name]
                first, second = hosts.nodes
                rates[name].append(await _gigabits(first, second, address or second.container_ip, seconds))
        memory = {name: _program(hosts, work).memory_mib() for name, hosts in (("vxlan", vxlan), ("ipsec", ipsec))}
    containers = 2_000 if options.quick else _CONTAINERS
    scale = await _changes(work, containers, 10 if options.quick else 50)
    ratios = {
        name: [mine / plain for mine, plain in zip(rates[name], rates["plain"], strict=True)]
        for name in ("vxlan", "ipsec")
    }
    measures = [
        median_of("plain veth", rates["plain"], "Gbit/s"),
        median_of("VXLAN", rates["vxlan"], "Gbit/s"),
        median_of("IPsec in user space", rates["ipsec"], "Gbit/s"),
        median_of("VXLAN, plain veth = 1", ratios["vxlan"], "x", goal=at_least(0.15)),
        median_of("IPsec in user space, plain veth = 1", ratios["ipsec"], "x", goal=at_least(0.03)),
        *(
            Measure(f"drover {name}: resident memory", significant(value), "MiB", goal=at_most(60.0))
            for name, value in memory.items()
        ),
        *scale,
    ]
    settings = {"rounds": rounds, "seconds": seconds, "containers": containers}
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=dict(settings))]


@asynccontextmanager
async def _routed(program: str, work: Path) -> AsyncIterator[Underlay]:
    """Two hosts whose containers reach each other."""
    published, mtu = ((4789,), 1450) if program == "vxlan" else ((500, 4500), 1350)
    with underlay(2, published=published, container_mtu=mtu) as hosts:
        async with WorldStream(environment(hosts.nodes)).serve(hosts.fabric):
            for node in hosts.nodes:
                _start(hosts, node, program, work)
            first, second = hosts.nodes
            await eventually(
                lambda: pings(first.container, second.container_ip), "hosts are joined", seconds=_READY_SECONDS
            )
            yield hosts


def _start(hosts: Underlay, node: Node, program: str, work: Path) -> None:
    url = ("--metadata-url", f"http://{FABRIC_ADDRESS}/{node.uuid}")
    more = ("--state-dir", str(work / node.router), "--datapath", "userland") if program == "ipsec" else ()
    log = work / f"{program}-{node.router}.log"
    hosts.start(node, program, *url, *more, log=log, environment={"RANCHER_IPSEC_PSK": "bench"})


def _join(hosts: Underlay) -> None:
    """A plain veth between the two containers."""
    first, second = hosts.nodes
    pair = ("peer", "name", "direct", "netns", second.container)
    sh("ip", "-n", first.container, "link", "add", "direct", "type", "veth", *pair)
    for node, address in zip(hosts.nodes, _DIRECT, strict=True):
        sh("ip", "-n", node.container, "address", "add", f"{address}/30", "dev", "direct")
        sh("ip", "-n", node.container, "link", "set", "direct", "up")


async def _gigabits(source: Node, target: Node, address: str, seconds: int) -> float:
    """One iperf3 run; what arrived."""
    server = await asyncio.create_subprocess_exec(
        *inside_command(target.container, "iperf3", "--server", "--one-off"), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.sleep(0.3)
        client = await asyncio.create_subprocess_exec(
            *inside_command(source.container, "iperf3", "--client", address, "--time", str(seconds), "--json"),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(seconds + 30):
            output, _ = await client.communicate()
    finally:
        try:
            await asyncio.wait_for(server.wait(), 5)  # it serves one client and ends
        except TimeoutError:
            server.kill()
    answer = msgspec.json.decode(output)
    if "end" not in answer or "sum_received" not in answer["end"]:
        raise BenchError(f"iperf3 to {address} failed: {answer.get('error', 'no result')}")
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9


def _program(hosts: Underlay, work: Path) -> Program:
    return Program(name="router", pid=hosts.programs[0].pid, log=work / "log")


async def _changes(work: Path, containers: int, count: int) -> list[Measure]:
    """How long a router takes for everything, and for one container more."""
    with underlay(2, published=(4789,), container_mtu=1450) as hosts:
        first, second = hosts.nodes
        many: list[Object] = [
            container(f"many-{number}", second, f"10.42.{100 + number // 250}.{number % 250 + 1}")
            for number in range(containers)
        ]
        world = WorldStream([*environment(hosts.nodes), *many])
        async with world.serve(hosts.fabric):
            _start(hosts, first, "vxlan", work)
            started = time.perf_counter()
            await eventually(
                lambda: first.in_router("ip", "route", "show", "dev", "vtep1042", check=False).count("\n") > containers,
                "all containers are routed",
                seconds=_READY_SECONDS,
            )
            everything = time.perf_counter() - started
            program = _program(hosts, work)
            before, waits = program.cpu_seconds(), []
            for number in range(count):
                ip = f"10.42.99.{number + 1}"
                changed = time.perf_counter()
                world.put(container(f"more-{number}", second, ip))
                await eventually(
                    lambda ip=ip: "vtep1042" in first.in_router("ip", "route", "get", ip),  # type: ignore[misc]
                    "one container more is routed",
                    pause=0.005,
                )
                waits.append((time.perf_counter() - changed) * 1000)
            cpu = (program.cpu_seconds() - before) / count * 1000
            return [
                Measure(f"Start until {containers:,} containers are routed", significant(everything), "s"),
                median_of("One container more: until it is routed", waits, "ms", goal=at_most(100.0)),
                Measure("One container more: CPU", significant(cpu), "ms", goal=at_most(10.0)),
                Measure("Resident memory then", significant(program.memory_mib()), "MiB"),
            ]
