"""A follower of a metadata service: everything, then changes, across restarts and beside foreign services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from drover.client.world import Change, Container, Delta, Environment, Full, Host, World, encode_frame
from drover.client.world.follow import follow
from drover.client.world.frames import Frame
from drover.common.backoff import Backoff

pytestmark = pytest.mark.anyio

HOST = Host(uuid="h1", name="one")
WEB = Container(uuid="c1", name="web-1", state="running")
STOPPED = msgspec.structs.replace(WEB, state="stopped")
BASE = Full(epoch="e", revision=1, objects=(Environment(uuid="env"), HOST, WEB), host="h1")
SECONDS = 60.0


def at_once() -> Backoff:
    return Backoff(initial=0.01, maximum=0.02, floor=0.001)


class Service:
    """A metadata service that plays what a test puts in: one list of frames for each connection."""

    def __init__(self, *plays: list[Frame | bytes | int]) -> None:
        self.plays = list(plays)
        self.asked: list[dict[str, str]] = []

    async def world(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        play = self.plays.pop(0) if self.plays else []
        if play and isinstance(play[0], int):
            return web.Response(status=play[0], text="not now")
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for each in play:
            assert not isinstance(each, int)
            await response.write(each if isinstance(each, bytes) else encode_frame(each) + b"\n")
        if not self.plays:
            await asyncio.Event().wait()
        return response

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/drover/1/world", self.world)
        async with serving(app, port) as address:
            yield address


@asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def take(address: str, world: World, count: int) -> list[Delta]:
    found: list[Delta] = []
    async with asyncio.timeout(SECONDS), aclosing(follow(address, world, backoff=at_once())) as deltas:
        async for delta in deltas:
            found.append(delta)
            if len(found) == count:
                break
    return found


async def test_everything_then_changes() -> None:
    world = World()
    async with Service([BASE, b"\n", Change(epoch="e", since=1, revision=2, changed=(STOPPED,))]).running() as address:
        first, second = await take(address, world, 2)
    assert {after.uuid for _, after in first.changes.values() if after is not None} == {"env", "h1", "c1"}
    assert list(second.of("container")) == [(WEB, STOPPED)]
    assert world.own_host == HOST


async def test_a_line_in_many_pieces_and_two_in_one() -> None:
    line = encode_frame(BASE) + b"\n"
    both = encode_frame(Change(epoch="e", since=1, revision=2, changed=(STOPPED,))) + b"\n"
    world = World()
    service = Service([line[:10], line[10:50], line[50:] + both[:5], both[5:]])
    async with service.running() as address:
        await take(address, world, 2)
    assert world.containers["c1"] == STOPPED


async def test_a_line_longer_than_any_buffer() -> None:
    many = tuple(Container(uuid=f"c{number}", name="x" * 500) for number in range(2000))
    world = World()
    async with Service([Full(epoch="e", revision=1, objects=many)]).running() as address:
        await take(address, world, 1)
    assert len(world.containers) == 2000


async def test_a_lost_connection_goes_on_where_it_ended() -> None:
    service = Service([BASE], [Change(epoch="e", since=1, revision=2, changed=(STOPPED,))])
    world = World()
    async with service.running() as address:
        _, second = await take(address, world, 2)
    assert service.asked == [{}, {"epoch": "e", "revision": "1"}]
    assert list(second.of("container")) == [(WEB, STOPPED)]


async def test_a_frame_that_changes_nothing_is_no_news() -> None:
    again = Full(epoch="f", revision=9, objects=BASE.objects, host="h1")
    service = Service([BASE], [again, Change(epoch="f", since=9, revision=10, changed=(STOPPED,))])
    world = World()
    async with service.running() as address:
        deltas = await take(address, world, 2)
    assert list(deltas[1].of("container")) == [(WEB, STOPPED)]


async def test_a_change_that_does_not_fit_asks_for_everything() -> None:
    service = Service([BASE, Change(epoch="e", since=5, revision=6)], [Full(epoch="e", revision=7, objects=(STOPPED,))])
    world = World()
    async with service.running() as address:
        await take(address, world, 2)
    assert service.asked[1] == {}
    assert world.hosts == {}


@pytest.mark.parametrize("play", [[503], [429], [b"no frame\n"]])
async def test_trouble_is_waited_out(play: list[Frame | bytes | int]) -> None:
    world = World()
    async with Service(play, [BASE]).running() as address:
        await take(address, world, 1)
    assert world.containers["c1"] == WEB


async def test_an_outage_leaves_the_world_as_it_was() -> None:
    world = World()
    async with asyncio.timeout(SECONDS):
        async with Service([BASE]).running() as address:
            deltas = follow(address, world, backoff=at_once())
            await anext(deltas)
        port = int(address.rpartition(":")[2])
        coming = asyncio.ensure_future(anext(deltas))
        await asyncio.sleep(0.05)
        assert not coming.done()
        assert world.containers == {"c1": WEB}
        service = Service([Change(epoch="e", since=1, revision=2, changed=(STOPPED,))])
        async with service.running(port):
            delta = await coming
            assert list(delta.of("container")) == [(WEB, STOPPED)]
            assert service.asked == [{"epoch": "e", "revision": "1"}]
            await deltas.aclose()


TREE: dict[str, Any] = {
    "name": "default",
    "uuid": "env",
    "region_name": None,
    "version": "v1",
    "self": {"host": {"uuid": "h1"}},
    "hosts": [{"uuid": "h1", "name": "one", "agent_ip": "192.0.2.1", "labels": None, "metadata_kind": "host"}],
    "networks": None,
    "stacks": [{"uuid": "s1", "name": "shop", "services": [], "environment_uuid": "env"}],
    "services": [
        {
            "uuid": "svc",
            "name": "web",
            "stack_name": "shop",
            "stack_uuid": "s1",
            "links": None,
            "metadata": {"kept": None},
            "health_check": {"port": 80, "interval": None},
            "lb_config": None,
            "containers": [{"uuid": "c1", "name": "shop-web-1"}],
        }
    ],
    "containers": [{"uuid": "c1", "name": "shop-web-1", "ips": ["10.42.0.1"], "links": None, "state": "running"}],
}


class Foreign:
    """The standard tree, as another implementation serves it. `release` lets the long poll end."""

    def __init__(self) -> None:
        self.tree = dict(TREE)
        self.release = asyncio.Event()
        self.polls: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        assert request.headers["Accept"] == "application/json"
        return web.json_response(self.tree)

    async def version(self, request: web.Request) -> web.Response:
        self.polls.append(dict(request.query))
        await self.release.wait()
        return web.json_response(self.tree["version"])

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/2016-07-29", self.answer)
        app.router.add_get("/2016-07-29/version", self.version)
        return app


async def test_a_foreign_service_is_read_by_its_tree() -> None:
    foreign, world = Foreign(), World()
    async with (
        asyncio.timeout(SECONDS),
        serving(foreign.app()) as address,
        aclosing(follow(address, world, backoff=at_once())) as deltas,
    ):
        await anext(deltas)
        assert world.own_host is not None
        assert world.own_host.agent_ip == "192.0.2.1"
        [container] = world.containers.values()
        assert [(each.service_uuid, each.service_name) for each in container.memberships] == [("svc", "web")]
        assert world.services["svc_web"].health_check is not None
        assert world.environment == Environment(uuid="env", name="default")
        foreign.tree |= {"version": "v2", "containers": []}
        foreign.release.set()
        delta = await anext(deltas)
        assert [before for before, after in delta.of("container") if after is None] == [container]
    assert foreign.polls[0] == {"wait": "true", "value": "v1", "maxWait": "5"}


async def test_memory_is_tidied_up_after_everything_not_after_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[int] = []
    world = World()
    monkeypatch.setattr("drover.client.world.follow.LARGE_FRAME", len(encode_frame(BASE)))
    monkeypatch.setattr("drover.client.world.follow.settle", lambda: settled.append(world.revision))
    changes: list[Frame | bytes | int] = [
        Change(epoch="e", since=number, revision=number + 1, changed=(each,))
        for number, each in enumerate((STOPPED, WEB, STOPPED), 1)
    ]
    async with (
        asyncio.timeout(SECONDS),
        Service([BASE, *changes]).running() as address,
        aclosing(follow(address, world, backoff=at_once())) as deltas,
    ):
        for _ in range(4):
            await anext(deltas)
    assert settled == [1]
