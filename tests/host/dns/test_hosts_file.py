"""The hosts file: who is in it, and how it is written."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from drover.client.world import Full, Host, encode_frame
from drover.host.dns.hosts_file import LOCAL, HostsFile, HostsFileSettings, own_address, render, write
from tests.host.dns.worlds import HERE, OWN, Names, base, container, names_of, service

pytestmark = pytest.mark.anyio


def lines(names: Names, *, own: str | None = "10.42.0.1", services: bool = False) -> list[str]:
    text = render(names.world, names.shared, own=own, hostname="box", services=services)
    assert text.startswith(LOCAL)
    return [line.replace("\t", " ") for line in text.removeprefix(LOCAL).splitlines()]


def host(uuid: str, hostname: str | None, address: str | None) -> Host:
    return Host(uuid=uuid, hostname=hostname, agent_ip=address, environment_uuid=OWN)


def test_this_container_and_the_hosts() -> None:
    names = names_of()
    names.full(
        host("a", "alpha", "172.16.0.1"),
        host("b", "alpha", "172.16.0.2"),
        host("c", "box", "172.16.0.3"),
        host("d", None, "172.16.0.4"),
        host("e", "echo", None),
        host("f", "f oxtrot\n1.2.3.4 evil", "172.16.0.6"),
        host("g", "golf.example", "172.16.0.7"),
    )
    assert lines(names) == ["10.42.0.1 box", "172.16.0.1 alpha", "172.16.0.7 golf.example"]
    assert lines(names, own=None)[0] == "172.16.0.1 alpha"


def test_the_own_stack() -> None:
    web_, side = service("web"), service("data", primary_service_name="web", uuid="shop-web")
    other = service("api", "other")
    names = names_of(
        web_,
        side,
        other,
        container("shop-web-1", "10.42.0.1", web_),
        container("shop-web-2", "10.42.0.2", web_),
        container("shop-web-data-1", "10.42.0.3", side),
        container("other-api-1", "10.42.0.4", other),
    )
    assert lines(names, services=True) == [
        "10.42.0.1 box",
        "10.42.0.3 data.web data.web.shop data.web.shop.rancher.internal",
        "10.42.0.1 web web.shop web.shop.rancher.internal",
        "10.42.0.2 web web.shop web.shop.rancher.internal",
        "10.42.0.1 shop-web-1 shop-web-1.rancher.internal",
        "10.42.0.2 shop-web-2 shop-web-2.rancher.internal",
        "10.42.0.3 shop-web-data-1 shop-web-data-1.rancher.internal",
    ]
    assert lines(names, own="10.42.0.99", services=True) == ["10.42.0.99 box"]


def test_the_file_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("x" * 1000)
    inode = path.stat().st_ino
    assert write(path, "short\n")
    assert (path.read_text(), path.stat().st_ino) == ("short\n", inode)
    assert not write(path, "short\n")
    assert write(tmp_path / "new", "a\n")


def test_own_address() -> None:
    assert own_address("127.0.0.1") == own_address("http://127.0.0.1:80/x") == "127.0.0.1"


async def test_it_follows_the_environment(tmp_path: Path) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        frame = Full("e", 1, (*base(), host("host-3", "third", "172.16.0.3")), host=HERE)
        await response.write(encode_frame(frame) + b"\n")
        await asyncio.sleep(3600)
        return response

    app = web.Application()
    app.router.add_get("/drover/1/world", stream)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = tmp_path / "hosts"
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    running = asyncio.create_task(HostsFile(HostsFileSettings(metadata_address=address, file=path)).run())
    try:
        async with asyncio.timeout(60):
            while not path.exists() or "172.16.0.3\tthird" not in path.read_text():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await runner.cleanup()
