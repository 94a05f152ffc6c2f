"""Questions answered in batches: the same replies as one by one, to whoever asked, whatever is between them."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import pytest

from drover.host.dns.batch import SIZE, SLOT, Batch
from drover.host.dns.records import addresses_answer
from drover.host.dns.server import Server
from drover.host.dns.view import Shared, View
from tests.host.dns.asking import addresses
from tests.host.dns.test_server import serving

pytestmark = pytest.mark.anyio


@contextmanager
def bound(address: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((address, 0))
        sock.settimeout(5)
        yield sock


def test_each_reply_goes_to_its_asker() -> None:
    with bound() as server, bound("127.0.0.2") as one, bound("127.0.0.3") as two:
        batch = Batch(server)
        for sock, text in ((one, b"a"), (two, b"bb"), (one, b"")):
            sock.sendto(text, server.getsockname())
        assert list(batch.receive()) == [(0, "127.0.0.2", b"a"), (1, "127.0.0.3", b"bb"), (2, "127.0.0.2", b"")]
        assert [batch.peer(place) for place in range(3)] == [each.getsockname() for each in (one, two, one)]
        for place in range(3):
            batch.put(place, b"reply %d" % place * (place + 1))
        assert batch.send(0, 3) == 0
        assert [sock.recv(SLOT) for sock in (one, two, one)] == [b"reply 0", b"reply 1" * 2, b"reply 2" * 3]


def test_no_more_than_a_batch_and_nothing_of_the_one_before() -> None:
    with bound() as server, bound() as client:
        batch = Batch(server)
        for number in range(SIZE + 1):
            client.sendto(b"%d" % number * (SIZE + 1 - number), server.getsockname())
        first = [data for _, _, data in batch.receive()]
        assert first == [b"%d" % number * (SIZE + 1 - number) for number in range(SIZE)]
        assert [data for _, _, data in batch.receive()] == [b"%d" % SIZE]
        assert list(batch.receive()) == []


def test_a_question_beyond_the_slot_is_cut_off() -> None:
    with bound() as server, bound() as client:
        batch = Batch(server)
        for text in (b"x" * 3 * SLOT, b"y"):
            client.sendto(text, server.getsockname())
        assert [data for _, _, data in batch.receive()] == [b"x" * SLOT, b"y"]


def test_replies_that_cannot_be_sent_hold_up_no_others() -> None:
    with bound() as server, bound() as client:
        batch = Batch(server)
        for text in (b"a", b"b", b"c"):
            client.sendto(text, server.getsockname())
        assert len(list(batch.receive())) == 3
        for place in range(3):
            batch.put(place, b"reply %d" % place)
        batch.put(1, b"reply 1")
        batch._addresses[16 + 2 : 16 + 4] = bytes(2)  # port 0 is nobody's
        assert batch.send(0, 3) == 1
        assert [client.recv(SLOT) for _ in range(2)] == [b"reply 0", b"reply 2"]


@pytest.fixture(params=[True, False], ids=["batches", "singly"])
def in_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to serve; the second as on a system without the calls."""
    if not request.param:

        def missing(_: socket.socket) -> Batch:
            raise OSError("recvmmsg and sendmmsg are missing")

        monkeypatch.setattr("drover.host.dns.server.Batch", missing)
    return bool(request.param)


async def test_any_mixture_of_questions_is_answered(in_batches: bool) -> None:
    """Known and new ones, long replies, bytes that mean nothing, two clients with views of their own, all at once."""
    shared = Shared()
    many = [f"10.42.{n // 200}.{n % 200 + 1}" for n in range(120)]
    expected = {f"s{n}.rancher.internal.": [f"10.43.0.{n}"] for n in range(1, 40)} | {"many.rancher.internal.": many}
    for name, found in expected.items():
        shared.set(name, addresses_answer(found))
    own = View(shared, records={"s1.rancher.internal.": addresses_answer(["10.44.0.1"])})
    shared.clients["127.0.0.5"] = own
    shared.views.add(own)
    choose = random.Random(7)
    async with serving(shared) as server:
        assert _batched(server) is in_batches
        with bound() as other, bound("127.0.0.5") as linked:
            for sock in (other, linked):
                sock.setblocking(False)
                sock.connect(("127.0.0.1", server.port))
            for _ in range(5):
                await _round(choose, {linked: expected | {"s1.rancher.internal.": ["10.44.0.1"]}, other: expected})
        assert server.questions == 5 * 2 * 3 * SIZE // 2
        assert server.dropped == 0


async def _round(choose: random.Random, clients: dict[socket.socket, dict[str, list[str]]]) -> None:
    """Three batches of questions before the server gets to read any."""
    asked: dict[tuple[socket.socket, int], dns.message.Message] = {}
    for number in range(3 * SIZE // 2):
        for sock, expected in clients.items():
            if choose.random() < 0.1:
                sock.send(choose.choice((b"", b"\x00\x01", bytes([0, 1, 0x80]) + bytes(20))))  # cannot be answered
                continue
            name = choose.choice((*expected, "none.rancher.internal."))
            edns = {"use_edns": 0, "payload": 4096} if name.startswith("many") else {}
            query = dns.message.make_query(name, "A", id=number + 1, **edns)
            asked[sock, query.id] = query
            sock.send(query.to_wire())
    loop = asyncio.get_running_loop()
    for sock, expected in clients.items():
        for _ in range(sum(1 for asker, _ in asked if asker is sock)):
            async with asyncio.timeout(60):
                reply = dns.message.from_wire(await loop.sock_recv(sock, 65535))
            query = asked.pop((sock, reply.id))
            assert query.is_response(reply)
            name = str(query.question[0].name)
            assert addresses(reply) == sorted(expected.get(name, ())), name
    assert not asked


async def test_rotation_goes_on_in_every_batch(in_batches: bool) -> None:
    """Each address comes first equally often, also in replies that do not fit into a slot."""
    shared = Shared()
    found = [f"10.42.0.{n}" for n in range(1, 101)]
    shared.set("many.rancher.internal.", addresses_answer(found))
    query = dns.message.make_query("many.rancher.internal.", "A", use_edns=0, payload=4096).to_wire()
    first = []
    async with serving(shared) as server:
        with bound() as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", server.port))
            for _ in range(2):
                for _ in range(50):
                    sock.send(query)
                for _ in range(50):
                    async with asyncio.timeout(60):
                        raw = await asyncio.get_running_loop().sock_recv(sock, 65535)
                    assert len(raw) > SLOT
                    first.append(dns.message.from_wire(raw).answer[0][0].address)
    assert sorted(first) == sorted(found)


def _batched(server: Server) -> bool:
    return server._reader() != server._drain_singly
