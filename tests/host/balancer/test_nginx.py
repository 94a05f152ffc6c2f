"""nginx itself carries out the same models."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from drover.host.balancer.model import Backend, Frontend, HostMatch, Model, Protocol, Route, Server
from drover.host.balancer.nginx import Nginx, NginxLayout
from drover.host.balancer.nginx_config import STREAM_MODULE
from drover.host.balancer.provider import Applied, Rejected
from tests.host.balancer.proxies import NOTHING, Load, free_port, get, simple, sites

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx"),
]


@asynccontextmanager
async def nginx(folder: Path) -> AsyncIterator[Nginx]:
    proxy = Nginx(NginxLayout(folder / "etc", folder / "run", health_bind=f"127.0.0.1:{free_port()}"))
    task = asyncio.create_task(proxy.run())
    try:
        await asyncio.wait_for(proxy.ready(), 10)
        yield proxy
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await proxy.stop(1)


def backend(name: str, address: str, port: int) -> Backend:
    return Backend(name, True, (Server(address, port),))


async def test_hosts_and_paths(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with nginx(tmp_path) as proxy, sites(5, port=target) as farm:
        routes = (
            Route("first", HostMatch.SUFFIX, ".example.com", "/first"),
            Route("exact", HostMatch.EXACT, "app.example.com"),
            Route("wild", HostMatch.SUFFIX, ".example.com"),
            Route("path", None, "", "/a.b"),
            Route("other"),
        )
        backends = tuple(backend(route.backend, site.address, target) for route, site in zip(routes, farm, strict=True))
        model = Model((Frontend(port, Protocol.HTTP, routes),), backends)
        assert await proxy.apply(model, NOTHING) is Applied.RELOAD
        answers = [
            (await get(port, path, host))[1]
            for host, path in (
                ("app.example.com", "/first/x"),
                ("app.example.com", "/a.b"),
                (f"x.Example.com:{port}", "/"),
                ("example.com", "/a.bc"),
                ("example.com", "/axb"),
            )
        ]
        assert answers == [site.address for site in farm]
        assert await proxy.apply(model, NOTHING) is Applied.NOTHING


async def test_changes_under_load_fail_no_request(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with nginx(tmp_path) as proxy, sites(4, port=target) as farm:
        servers = [Server(site.address, target) for site in farm]
        await proxy.apply(simple(port, servers[:1]), NOTHING)
        async with Load(port).running() as load:
            for count in (4, 2, 3, 1):
                await load.until(50)
                assert await proxy.apply(simple(port, servers[:count]), NOTHING) is Applied.RELOAD
        assert load.failed == []


async def test_no_server_is_503_and_a_bad_text_changes_nothing(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with nginx(tmp_path) as proxy, sites(1, port=target) as farm:
        await proxy.apply(simple(port, []), NOTHING)
        assert (await get(port))[0] == 503
        good = simple(port, [Server(farm[0].address, target)])
        await proxy.apply(good, NOTHING)
        with pytest.raises(Rejected, match="no_such"):
            await proxy.apply(simple(port, [], custom="no_such_directive on;"), NOTHING)
        assert (await get(port))[0] == 200


@pytest.mark.skipif(not STREAM_MODULE.exists(), reason="needs libnginx-mod-stream")
async def test_tcp(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    async with nginx(tmp_path) as proxy, sites(1, port=target) as farm:
        model = Model(
            (Frontend(port, Protocol.TCP, (Route("t"),)),), (Backend("t", False, (Server(farm[0].address, target),)),)
        )
        await proxy.apply(model, NOTHING)
        assert (await get(port))[1] == farm[0].address
        with pytest.raises(Rejected, match="sni"):
            await proxy.apply(Model((Frontend(port, Protocol.SNI, (Route("t"),)),), model.backends), NOTHING)
