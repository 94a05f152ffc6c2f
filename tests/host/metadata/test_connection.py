"""The service over real connections: keep-alive, pipelining, long polls, streams, limits."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from drover.client.world import Change, Full, Object, Service, World, decode_frame
from drover.client.world.follow import follow
from drover.host.metadata import connection, listener, streams
from drover.host.metadata.listener import CannotListen, Listener
from drover.host.metadata.publication import Publication
from tests.host.metadata.shop import ALONE, OBJECTS, WEB_1, full, shop_world

pytestmark = pytest.mark.anyio

SECONDS = 50.0  # less than a poll lasts that names no time
STOPPED = msgspec.structs.replace(WEB_1, state="stopped")


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    """A connection that is written to and read from by hand."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, target: str, *headers: str, method: str = "GET", version: str = "1.1") -> None:
        lines = [f"{method} {target} HTTP/{version}", "Host: metadata", *headers]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def read(self, *, head_only: bool = False) -> Reply:
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = 0 if head_only else int(headers.get("content-length", 0))
            return Reply(int(first.split()[1]), headers, await self.reader.readexactly(size))

    async def get(self, target: str, *headers: str) -> Reply:
        self.send(target, *headers)
        return await self.read()

    async def ended(self) -> bool:
        async with asyncio.timeout(SECONDS):
            return await self.reader.read() == b""


@dataclass
class Running:
    """A listening service and the world behind it."""

    world: World
    listener: Listener
    port: int
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    def change(self, *objects: Object) -> None:
        self.listener.publication.apply(self.world.apply(full(*objects, revision=self.world.revision + 1)))

    def stop_web(self) -> None:
        self.change(*(STOPPED if each is WEB_1 else each for each in OBJECTS))


@asynccontextmanager
async def running(*, world: World | None = None, trusts_forwarded: bool = True) -> AsyncIterator[Running]:
    known = shop_world() if world is None else world
    service = Listener(Publication(known), trusts_forwarded=trusts_forwarded)
    async with service.listening("127.0.0.1", 0) as port:
        made = Running(known, service, port)
        try:
            yield made
        finally:
            for client in made.clients:
                client.writer.close()


WEB = "X-Forwarded-For: 10.42.0.11"
JSON = "Accept: application/json"


async def test_many_requests_over_one_connection() -> None:
    async with running() as service:
        client = await service.client()
        for _ in range(3):
            reply = await client.get("/latest/self/container/name", WEB)
            assert (reply.status, reply.body) == (200, b"shop-web-1")
            assert reply.headers["access-control-allow-origin"] == "*"
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            missing = await client.get("/latest/nothing", JSON)
            assert (missing.status, missing.headers["content-type"]) == (404, "application/json")
            assert missing.headers["access-control-allow-origin"] == "*"
        assert service.listener.answered == 2, "the repeated requests were answered from memory"


async def test_a_closed_connection_leaves_nothing_behind() -> None:
    """Without the collector's help: its remembered responses may be megabytes, and the next collection hours away."""
    async with running() as service:
        client = await service.client()
        await client.get("/latest/containers", JSON)
        (made,) = service.listener._connections
        left = weakref.ref(made)
        del made
        gc.collect()
        gc.disable()
        try:
            client.writer.close()
            async with asyncio.timeout(SECONDS):
                while left() is not None:
                    await asyncio.sleep(0)
        finally:
            gc.enable()


async def test_a_remembered_answer_is_forgotten_with_the_change() -> None:
    async with running() as service:
        client = await service.client()
        for state in (b"running", b"running", b"stopped", b"stopped"):
            if state == b"stopped" and service.world.containers["container-1"] is not STOPPED:
                service.stop_web()
            assert (await client.get("/latest/self/container/state", WEB)).body == state


async def test_answers_are_not_mixed_up_between_clients() -> None:
    async with running() as service:
        one, two = await service.client(), await service.client()
        for _ in range(2):
            assert (await one.get("/latest/self/container/name", WEB)).body == b"shop-web-1"
            assert (await two.get("/latest/self/container/name", "X-Forwarded-For: 10.42.0.14")).body == b"alone"
            assert (await two.get("/latest/self/container/name")).status == 404


async def test_the_forwarded_address_counts_only_when_told() -> None:
    async with running(trusts_forwarded=False) as service:
        client = await service.client()
        assert (await client.get("/latest/self", WEB)).body == b"host/\n"


async def test_head_has_the_headers_of_get() -> None:
    async with running() as service:
        client = await service.client()
        for _ in range(2):
            client.send("/latest/self/container", WEB, JSON, method="HEAD")
            head = await client.read(head_only=True)
            got = await client.get("/latest/self/container", WEB, JSON)
            assert head.headers == got.headers
            assert int(head.headers["content-length"]) == len(got.body)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running() as service:
        client = await service.client()
        paths = [f"/latest/containers/{index}/name" for index in range(5)] * 40
        client.writer.write(b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths))
        names = [(await client.read()).body for _ in paths]
        assert names == [b"shop-web-data-1", b"shop-web-1", b"shop-web-2", b"alone", b"agent"] * 40


async def test_a_request_in_pieces() -> None:
    async with running() as service:
        client = await service.client()
        for _ in range(2):
            for piece in (b"GET /latest/na", b"me HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n"):
                client.writer.write(piece)
                await client.writer.drain()
                await asyncio.sleep(0.005)
            assert (await client.read()).body == b"default"
        assert (await client.get("/latest/name")).body == b"default"


async def test_a_body_is_read_past() -> None:
    async with running() as service:
        client = await service.client()
        client.writer.write(b"POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /")
        assert (await client.read()).status == 404
        assert (await client.get("/latest/name")).body == b"default"


@pytest.mark.parametrize(("version", "header"), [("1.0", "X-Nothing: 1"), ("1.1", "Connection: close")])
async def test_a_connection_ends_when_the_client_wants_it(version: str, header: str) -> None:
    async with running() as service:
        for _ in range(2):
            client = await service.client()
            client.send("/latest/name", header, version=version)
            reply = await client.read()
            assert (reply.body, reply.headers["connection"]) == (b"default", "close")
            assert await client.ended()


async def test_an_old_client_may_keep_its_connection() -> None:
    async with running() as service:
        client = await service.client()
        for _ in range(3):
            client.send("/latest/name", "Connection: keep-alive", version="1.0")
            reply = await client.read()
            assert (reply.body, reply.headers["connection"]) == (b"default", "keep-alive")


async def test_an_offered_upgrade_is_not_taken() -> None:
    async with running() as service:
        client = await service.client()
        reply = await client.get("/latest/name", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")
        assert (reply.status, reply.body) == (200, b"default")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /latest HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000, 431),
    ],
)
async def test_what_is_no_request_ends_the_connection(data: bytes, status: int) -> None:
    async with running() as service:
        client = await service.client()
        client.writer.write(data)
        reply = await client.read()
        assert (reply.status, reply.headers["connection"]) == (status, "close")


async def test_a_defect_is_an_error_and_not_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as service:

        def broken(_: object) -> object:
            raise RuntimeError("cannot be shown")

        monkeypatch.setattr(service.listener.answers, "answer", broken)
        client = await service.client()
        for _ in range(2):
            reply = await client.get("/latest", JSON)
            assert reply.status == 500
            assert msgspec.json.decode(reply.body)["code"] == 500


async def test_a_long_poll_ends_with_the_change() -> None:
    async with running() as service:
        client, other = await service.client(), await service.client()
        version = (await client.get("/latest/version")).body.decode()
        client.send(f"/latest/version?wait=true&value={version}&maxWait=60")
        client.send("/latest/self/container/state", WEB)
        await _until(lambda: len(service.listener.waiting) == 1)
        assert (await other.get("/latest/name")).body == b"default"
        service.stop_web()
        changed = await client.read()
        assert changed.status == 200
        assert changed.body.decode() == service.listener.publication.version != version
        assert (await client.read()).body == b"stopped", "what was asked behind the poll"
        assert service.listener.waiting == {}


async def test_a_change_of_something_else_does_not_end_it() -> None:
    async with running() as service:
        client = await service.client()
        client.send("/latest/self/container/state?wait=true&value=running&maxWait=60", "X-Forwarded-For: 10.42.0.14")
        await _until(lambda: len(service.listener.waiting) == 1)
        service.stop_web()
        assert len(service.listener.waiting) == 1
        stopped = msgspec.structs.replace(ALONE, state="stopped")
        service.change(*(stopped if each is ALONE else each for each in OBJECTS))
        assert (await client.read()).body == b"stopped"


async def test_a_long_poll_ends_on_time() -> None:
    async with running() as service:
        client, other = await service.client(), await service.client()
        other.send("/latest/nothing?wait=true&value=&maxWait=1")
        begun = time.monotonic()
        version = service.listener.publication.version
        reply = await client.get(f"/latest/version?wait=true&value={version}&maxWait=1")
        assert (reply.status, reply.body.decode()) == (200, version)
        assert time.monotonic() - begun > 0.99
        missing = await other.read()
        assert (missing.status, missing.body) == (404, b"Not found\n")


async def test_a_poll_of_what_is_not_loaded_yet() -> None:
    async with running(world=World()) as service:
        client = await service.client()
        client.send("/latest/version?wait=true&value=init&maxWait=60")
        await _until(lambda: len(service.listener.waiting) == 1)
        service.change()
        assert (await client.read()).body.decode() == service.listener.publication.version


async def test_a_client_that_goes_while_it_waits_is_forgotten() -> None:
    async with running() as service:
        client = await service.client()
        client.send(f"/latest/version?wait=true&value={service.listener.publication.version}")
        await _until(lambda: len(service.listener.waiting) == 1)
        client.writer.close()
        await _until(lambda: not service.listener.waiting and not service.listener.connections)
        service.stop_web()


async def test_many_waiters_are_woken_at_once() -> None:
    async with running() as service:
        clients = [await service.client() for _ in range(200)]
        version = service.listener.publication.version
        for client in clients:
            client.send(f"/latest/version?wait=true&value={version}")
        await _until(lambda: len(service.listener.waiting) == 200)
        service.stop_web()
        replies = [await client.read() for client in clients]
        assert {reply.body for reply in replies} == {service.listener.publication.version.encode()}


async def test_a_reader_that_pauses_gets_everything_in_order() -> None:
    async with running() as service:
        service.change(*OBJECTS, *_crowd(2000))
        client = await service.client()
        for _ in range(20):
            client.send("/latest/containers", JSON)
        await asyncio.sleep(0.1)
        bodies = {(await client.read()).body for _ in range(20)}
        assert len(bodies) == 1
        assert len(msgspec.json.decode(bodies.pop())) == 2005


async def test_too_many_connections_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "PER_ADDRESS", 2)
    async with running() as service:
        first, _, third = [await service.client() for _ in range(3)]
        assert (await first.get("/latest/name")).body == b"default"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await third.get("/latest/name")
        first.writer.close()
        await _until(lambda: service.listener.connections == 1)
        assert (await (await service.client()).get("/latest/name")).body == b"default"


async def test_idle_connections_end_and_used_ones_stay() -> None:
    async with running() as service:
        idle, used, waiting = [await service.client() for _ in range(3)]
        for client in (idle, used):
            await client.get("/latest/name")
        waiting.send(f"/latest/version?wait=true&value={service.listener.publication.version}")
        await _until(lambda: len(service.listener.waiting) == 1)
        now = asyncio.get_running_loop().time()
        await used.get("/latest/name")
        service.listener.end_idle(now + 1000)
        assert await idle.ended()
        assert (await used.get("/latest/name")).body == b"default"
        assert len(service.listener.waiting) == 1


async def test_a_taken_port_is_explained() -> None:
    async with running() as service:
        with pytest.raises(CannotListen, match="--listen"):
            async with Listener(Publication(World())).listening("127.0.0.1", service.port):
                pass


async def test_the_stream_feeds_a_replica() -> None:
    async with running() as service:
        replica = World()
        deltas = follow(f"http://127.0.0.1:{service.port}", replica)
        async with asyncio.timeout(SECONDS):
            await anext(deltas)
            assert replica.containers == service.world.containers
            assert replica.own_host == service.world.own_host
            assert {each.token for each in replica.services.values()} == {None}
            service.stop_web()
            delta = await anext(deltas)
            assert list(delta.of("container")) == [(WEB_1, STOPPED)]
            service.change(*OBJECTS[:-1])
            assert list((await anext(deltas)).of("container")) == [(STOPPED, None)]
            await deltas.aclose()
        await _until(lambda: len(service.listener.streams) == 0)


async def _frames(service: Running, query: str, count: int) -> list[object]:
    client = await service.client()
    client.send(f"/drover/1/world{query}")
    found: list[object] = []
    async with asyncio.timeout(SECONDS):
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"application/x-ndjson" in head
        while len(found) < count:
            size = int(await client.reader.readline(), 16)
            chunk = await client.reader.readexactly(size + 2)
            found += [decode_frame(line) for line in chunk.split(b"\n") if line.strip()]
    client.writer.close()
    return found


async def test_a_stream_goes_on_where_it_ended() -> None:
    async with running() as service:
        [everything] = await _frames(service, "", 1)
        assert isinstance(everything, Full)
        service.stop_web()
        service.change(*OBJECTS)
        since = f"?epoch={everything.epoch}&revision={everything.revision}"
        first, second = await _frames(service, since, 2)
        assert isinstance(first, Change)
        assert isinstance(second, Change)
        assert (first.changed, second.changed) == ((STOPPED,), (WEB_1,))
        for unknown in ("?epoch=other&revision=0", f"?epoch={everything.epoch}&revision=99", "?epoch=&revision=-1"):
            assert isinstance((await _frames(service, unknown, 1))[0], Full)


async def test_what_is_no_longer_remembered_is_sent_as_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_REMEMBERED", 1)
    async with running() as service:
        [everything] = await _frames(service, "", 1)
        assert isinstance(everything, Full)
        service.stop_web()
        service.change(*OBJECTS)
        since = f"?epoch={everything.epoch}&revision={everything.revision}"
        assert isinstance((await _frames(service, since, 1))[0], Full)


async def test_a_stream_waits_for_the_first_world_and_is_kept_alive() -> None:
    async with running(world=World()) as service:
        asking = asyncio.create_task(_frames(service, "", 1))
        await _until(lambda: len(service.listener.streams) == 1)
        service.listener.streams.keep_alive()
        service.change()
        [everything] = await asking
        assert isinstance(everything, Full)
        assert len(everything.objects) == len(OBJECTS)


async def test_no_token_leaves_through_the_stream() -> None:
    async with running() as service:
        client = await service.client()
        client.send("/drover/1/world")
        renewed = [
            msgspec.structs.replace(each, token="secret-renewed") if isinstance(each, Service) else each
            for each in OBJECTS
        ]
        await _until(lambda: len(service.listener.streams) == 1)
        service.change(*renewed)
        async with asyncio.timeout(SECONDS):
            seen = b""
            while b'"frame":"change"' not in seen:
                seen += await client.reader.read(2**20)
        assert b"secret" not in seen


async def test_streams_of_one_address_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PER_ADDRESS", 1)
    async with running() as service:
        first = await service.client()
        first.send("/drover/1/world")
        await _until(lambda: len(service.listener.streams) == 1)
        second = await service.client()
        reply = await second.get("/drover/1/world", JSON)
        assert (reply.status, msgspec.json.decode(reply.body)["code"]) == (429, 429)
        first.writer.close()
        await _until(lambda: len(service.listener.streams) == 0)
        assert len(await _frames(service, "", 1)) == 1


async def test_a_stream_that_reads_nothing_holds_nobody_up() -> None:
    async with running() as service:
        service.change(*OBJECTS, *_crowd(2000))
        slow = await service.client()
        slow.send("/drover/1/world")
        await _until(lambda: len(service.listener.streams) == 1)
        for round_ in range(10):
            service.change(*OBJECTS, *_crowd(2000, state=str(round_)))
        replica = World()
        deltas = follow(f"http://127.0.0.1:{service.port}", replica)
        async with asyncio.timeout(SECONDS):
            await anext(deltas)
            assert replica.containers["crowd-1"].state == "9"
            await deltas.aclose()


def _crowd(count: int, state: str = "running") -> list[Object]:
    """Containers in number; each with more text than a socket's buffers hold in sum."""
    padding = {"padding": "x" * 1000}
    return [
        msgspec.structs.replace(
            ALONE, uuid=f"crowd-{n}", name=f"crowd-{n}", primary_ip=None, labels=padding, state=state
        )
        for n in range(count)
    ]


async def _until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


def test_the_limits_are_what_the_documentation_says() -> None:
    assert (streams.PER_ADDRESS, streams.IN_TOTAL) == (16, 256)
    assert (listener.PER_ADDRESS, listener.IN_TOTAL) == (2048, 8192)
    assert connection.MAX_HEAD == 16 * 1024
