"""How fast a load balancer follows its targets: HAProxy's Runtime API, and a reload of the same change as rival.

Both change the same HAProxy with the same thousand servers, in turn, so that the machine's load falls on both. The
price of the pure part, from the environment to the configuration's text, is measured by itself.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.options import Options
from bench.result import Measure, Result, at_least, at_most, median_of, significant
from drover.client.world import Container, Full, LbConfig, LbRule, Membership, Service, World
from drover.host.balancer.build import build
from drover.host.balancer.certificates import Bundle
from drover.host.balancer.custom import parse_custom
from drover.host.balancer.haproxy import HAProxy
from drover.host.balancer.model import Backend, Frontend, Model, Protocol, Route, Server
from drover.host.balancer.provider import Applied
from drover.host.balancer.render import Layout, Renderer

NAME = "balancer"
TITLE = "Following the targets of a load balancer"

_BUILD_GOAL = at_most(100.0)
_RATIO_GOAL = at_least(5.0)
_OWN = "own"


async def run(options: Options) -> list[Result]:
    targets, rules, rounds = (100, 100, 3) if options.quick else (1000, 1000, 15)
    measures = _build_times(rules, rounds)
    settings: dict[str, float | int | str] = {"targets": targets, "rules": rules, "rounds": rounds}
    if shutil.which("haproxy") is None:
        return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=settings, skipped="no haproxy")]
    measures += await _update_times(options.work / NAME, targets, rounds)
    return [Result(bench=NAME, title=TITLE, measures=tuple(measures), settings=settings)]


def _build_times(rules: int, rounds: int) -> list[Measure]:
    world = _world(rules)
    own = world.containers[_OWN]
    layout = Layout.standard(Path("/etc/haproxy"), Path("/var/run"))
    samples = []
    for _ in range(rounds):
        start = time.perf_counter()
        built = build(world, own)
        Renderer(layout, parse_custom(built.model.custom)).text(built.model)
        samples.append((time.perf_counter() - start) * 1000)
    return [median_of(f"{rules} rules: from the environment to the text", samples, "ms", goal=_BUILD_GOAL)]


def _world(rules: int) -> World:
    """A service with two containers for each rule, each with host and path of its own."""
    objects: list[Service | Container] = []
    made = []
    for index in range(rules):
        uuid, name = f"service-{index}", f"web{index}"
        objects.append(Service(uuid=uuid, name=name, stack_name="shop", state="active"))
        objects += [
            Container(
                uuid=f"{uuid}-{copy}",
                state="running",
                primary_ip=f"10.{42 + copy}.{index // 250}.{index % 250 + 1}",
                memberships=(Membership(uuid, name),),
            )
            for copy in range(2)
        ]
        made.append(
            LbRule(
                source_port=80,
                service=f"shop/{name}",
                target_port=8080,
                hostname=f"h{index}.example.com",
                path=f"/p{index}",
            )
        )
    objects.append(Service(uuid="lb", name="lb", stack_name="shop", lb_config=LbConfig(port_rules=tuple(made))))
    objects.append(Container(uuid=_OWN, state="running", memberships=(Membership("lb", "lb"),)))
    world = World()
    world.apply(Full(epoch="bench", revision=1, objects=tuple(objects), host="here"))
    return world


async def _update_times(folder: Path, targets: int, rounds: int) -> list[Measure]:
    one_runtime, one_reload, all_runtime, all_reload = [], [], [], []
    async with _haproxy(folder) as proxy:
        port = _free_port()
        some, every = targets // 2, targets
        await proxy.apply(_model(port, some), Bundle())
        for index in range(rounds):
            one_runtime.append(await _timed(proxy, _model(port, some + 1), Applied.RUNTIME))
            await proxy.apply(_model(port, some), Bundle())
            one_reload.append(await _timed(proxy, _model(port, some + 1, mark=index), Applied.RELOAD))
            await proxy.apply(_model(port, some), Bundle())
            all_runtime.append(await _timed(proxy, _model(port, every), Applied.RUNTIME))
            await proxy.apply(_model(port, some, mark=index), Bundle())
            all_reload.append(await _timed(proxy, _model(port, every, mark=-1), Applied.RELOAD))
            await proxy.apply(_model(port, some), Bundle())
    ratios = [slow / fast for fast, slow in zip(one_runtime, one_reload, strict=True)]
    return [
        median_of(f"one target more beside {some}: Runtime API", one_runtime, "ms"),
        median_of(f"one target more beside {some}: reload", one_reload, "ms"),
        median_of("one target more: reload / Runtime API", ratios, "x", goal=_RATIO_GOAL),
        median_of(f"{every - some} targets more: Runtime API", all_runtime, "ms"),
        median_of(f"{every - some} targets more: reload", all_reload, "ms"),
        Measure(
            name="changes of targets that one balancer can follow",
            value=significant(1000 / sorted(one_runtime)[len(one_runtime) // 2]),
            unit="/s",
            goal=at_least(10.0),
        ),
    ]


async def _timed(proxy: HAProxy, model: Model, expected: Applied) -> float:
    start = time.perf_counter()
    applied = await proxy.apply(model, Bundle())
    took = (time.perf_counter() - start) * 1000
    assert applied is expected, f"{applied} instead of {expected}"
    return took


def _model(port: int, count: int, *, mark: int | None = None) -> Model:
    """``mark`` makes two models differ in more than servers, which takes a reload."""
    servers = tuple(Server(f"10.42.{index // 250}.{index % 250 + 1}", 8080) for index in range(count))
    custom = "" if mark is None else f"defaults\n    timeout queue {mark + 1000}"
    return Model((Frontend(port, Protocol.HTTP, (Route("web"),)),), (Backend("web", True, servers),), custom=custom)


@asynccontextmanager
async def _haproxy(folder: Path) -> AsyncIterator[HAProxy]:
    proxy = HAProxy(Layout.standard(folder / "etc", folder / "run", health_bind=f"127.0.0.1:{_free_port()}"))
    task = asyncio.create_task(proxy.run())
    try:
        async with asyncio.timeout(10):
            await proxy.ready()
        yield proxy
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await proxy.stop(1)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
