"""Questions for others: order, failure, cache, truth about what was not found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from drover.host.dns.exchange import NoReply, server_address
from drover.host.dns.exchange import ask as exchange
from drover.host.dns.forward import Forwarder, Request, ServerHealth
from drover.host.dns.message import parse_reply
from drover.host.dns.records import Answer, addresses_answer
from drover.host.dns.view import Shared, View
from drover.host.dns.wire import Malformed
from tests.host.dns.asking import addresses, ask, code, responder_of
from tests.host.dns.conftest import serving_outside

pytestmark = pytest.mark.anyio

WWW = ("www.example.org.", "A")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def silence(_query: dns.message.Message) -> None:
    return None


async def test_a_reply_is_kept_as_long_as_it_says() -> None:
    clock = Clock()
    async with serving_outside(records={WWW: ["198.51.100.8"]}, ttl=60) as outside, Forwarder(clock=clock) as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        first = await ask(responder, "www.example.org")
        assert (first.answer[0].ttl, first.flags & dns.flags.AA) == (60, 0)
        clock.now += 45
        assert (await ask(responder, "WWW.example.org")).answer[0].ttl == 15
        assert len(outside.asked) == 1
        clock.now += 15
        assert (await ask(responder, "www.example.org")).answer[0].ttl == 60
        assert len(outside.asked) == 2


async def test_the_longest_time_is_ours_to_say() -> None:
    clock = Clock()
    records = {WWW: ["198.51.100.8"]}
    async with serving_outside(records=records, ttl=86400) as outside, Forwarder(clock=clock, ttl_max=300) as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        await ask(responder, "www.example.org")
        clock.now += 300
        await ask(responder, "www.example.org")
        assert len(outside.asked) == 2


async def test_what_does_not_exist_is_kept_as_long_as_its_soa_says() -> None:
    clock = Clock()

    def deny(query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        soa = "ns.example. root.example. 1 2 3 4 20"
        reply.authority.append(dns.rrset.from_text("example.", 3600, "IN", "SOA", soa))
        return reply

    async with serving_outside(behave=deny) as outside, Forwarder(clock=clock) as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        for _ in range(2):
            reply = await ask(responder, "no.example")
            assert (code(reply), str(reply.authority[0].name)) == ("NXDOMAIN", "example.")
        assert len(outside.asked) == 1
        clock.now += 20
        await ask(responder, "no.example")
        assert len(outside.asked) == 2


async def test_the_cache_forgets_what_was_not_asked_for_longest() -> None:
    records = {(f"n{n}.example.", "A"): ["198.51.100.1"] for n in range(4)}
    async with serving_outside(records=records) as outside, Forwarder(capacity=3) as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        for name in ("n0", "n1", "n2", "n0", "n3", "n0", "n2", "n3"):
            await ask(responder, f"{name}.example")
        assert len(outside.asked) == 4
        await ask(responder, "n1.example")
        assert len(outside.asked) == 5


async def test_a_stale_reply_is_better_than_none() -> None:
    clock = Clock()
    async with (
        serving_outside(records={WWW: ["198.51.100.8"]}) as outside,
        Forwarder(clock=clock, timeout=0.05, stale_max=1000) as forwarder,
    ):
        responder = responder_of(Shared(), forwarder, outside.address)
        await ask(responder, "www.example.org")
        outside.behave = silence
        clock.now += 100
        reply = await ask(responder, "www.example.org")
        assert (addresses(reply), reply.answer[0].ttl) == (["198.51.100.8"], 30)
        clock.now += 1000
        assert code(await ask(responder, "www.example.org")) == "SERVFAIL"


async def test_nobody_answers() -> None:
    async with serving_outside(behave=silence) as outside, Forwarder(timeout=0.05) as forwarder:
        assert code(await ask(responder_of(Shared(), forwarder, outside.address), "www.example.org")) == "SERVFAIL"
        assert code(await ask(responder_of(Shared(), forwarder), "www.example.org")) == "SERVFAIL"


async def test_ipv6_questions_hear_of_no_data_instead_of_no_name() -> None:
    async with serving_outside() as outside, Forwarder() as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        reply = await ask(responder, "www.example.org", "AAAA")
        assert (code(reply), reply.answer) == ("NOERROR", [])
        assert code(await ask(responder, "www.example.org", "MX")) == "NXDOMAIN"


async def test_the_first_reply_wins_even_if_it_refuses() -> None:
    def refuse(query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.REFUSED)
        return reply

    async with (
        serving_outside(behave=refuse) as first,
        serving_outside(records={WWW: ["198.51.100.8"]}) as second,
        Forwarder() as forwarder,
    ):
        responder = responder_of(Shared(), forwarder, first.address, second.address)
        assert code(await ask(responder, "www.example.org")) == "REFUSED"
        assert (len(first.asked), second.asked) == (1, [])


async def test_a_silent_server_costs_a_moment_and_then_nothing() -> None:
    async with (
        serving_outside(behave=silence) as first,
        serving_outside(records={WWW: ["198.51.100.8"], ("b.example.", "A"): ["198.51.100.9"]}) as second,
        Forwarder(timeout=0.3) as forwarder,
    ):
        responder = responder_of(Shared(), forwarder, first.address, second.address)
        forwarder.health[first.address] = ServerHealth(round_trip=0.001)
        assert addresses(await ask(responder, "www.example.org")) == ["198.51.100.8"]
        assert len(first.asked) == 1, "asked first; the other one a moment later"
        forwarder.health[first.address].failed(asyncio.get_running_loop().time())
        assert addresses(await ask(responder, "b.example")) == ["198.51.100.9"]
        assert len(first.asked) == 1, "known to be silent: not asked again for a while"


async def test_a_port_without_a_server_is_found_out_at_once() -> None:
    async with serving_outside(records={WWW: ["198.51.100.8"]}) as outside, Forwarder(timeout=30) as forwarder:
        responder = responder_of(Shared(), forwarder, "127.0.0.1#9", outside.address)
        async with asyncio.timeout(60):
            assert addresses(await ask(responder, "www.example.org")) == ["198.51.100.8"]


async def test_the_containers_own_servers_come_first() -> None:
    shared = Shared()
    async with (
        serving_outside(records={WWW: ["198.51.100.1"]}) as everybodys,
        serving_outside(records={WWW: ["198.51.100.2"]}) as own,
        Forwarder() as forwarder,
    ):
        responder = responder_of(shared, forwarder, everybodys.address)
        shared.clients["10.42.0.1"] = View(shared, upstreams=(own.address,))
        assert addresses(await ask(responder, "www.example.org", client="10.42.0.1")) == ["198.51.100.2"]
        assert addresses(await ask(responder, "www.example.org", client="10.42.0.2")) == ["198.51.100.1"]


async def test_a_truncated_reply_is_fetched_over_tcp() -> None:
    many = [f"198.51.100.{n}" for n in range(1, 61)]
    async with serving_outside(records={WWW: many}, truncate=True) as outside, Forwarder() as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        reply = await ask(responder, "www.example.org")
        assert reply.flags & dns.flags.TC
        assert len(addresses(reply)) > 20
        assert len(addresses(await ask(responder, "www.example.org", tcp=True))) == 60
        assert len(outside.asked) == 2, "UDP and TCP, once"


async def test_the_same_question_is_asked_once_at_a_time() -> None:
    async with serving_outside(records={WWW: ["198.51.100.8"]}) as outside, Forwarder() as forwarder:
        responder = responder_of(Shared(), forwarder, outside.address)
        replies = await asyncio.gather(*(ask(responder, "www.example.org") for _ in range(50)))
        assert {tuple(addresses(each)) for each in replies} == {("198.51.100.8",)}
        assert len(outside.asked) == 1


async def test_too_much_at_once_fails_instead_of_growing() -> None:
    async with serving_outside(behave=silence) as outside, Forwarder(timeout=1000, in_flight=5) as forwarder:
        request = [Request(bytes([1, 97 + n, 0, 0, 1, 0, 1]), (outside.address,)) for n in range(6)]
        waiting = [asyncio.create_task(forwarder.find(each)) for each in request[:5]]
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            assert await forwarder.find(request[5]) is None
        assert not any(each.done() for each in waiting)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_name_here_that_stands_for_one_outside() -> None:
    shared = Shared()
    shared.set("remote.shop.rancher.internal.", Answer(alias="api.example.net."))
    shared.set("mixed.shop.rancher.internal.", Answer((b"\x0a\x00\x00\x01",), alias="gone.example.net."))
    chain = {("api.example.net.", "A"): ["198.51.100.7", "198.51.100.9"]}
    async with serving_outside(records=chain, ttl=7) as outside, Forwarder() as forwarder:
        responder = responder_of(shared, forwarder, outside.address)
        reply = await ask(responder, "remote.shop")
        assert addresses(reply) == ["198.51.100.7", "198.51.100.9"]
        assert reply.answer[1].ttl == 7
        assert addresses(await ask(responder, "mixed.shop")) == ["10.0.0.1"]
        assert addresses(await ask(responder, "remote.shop", use_edns=0)) == ["198.51.100.7", "198.51.100.9"]
        shared.set("remote.shop.rancher.internal.", Answer(alias="gone.example.net."))
        assert code(await ask(responder, "remote.shop.rancher.internal")) == "NXDOMAIN"


async def test_local_names_do_not_wait_for_others() -> None:
    shared = Shared()
    shared.set("web.shop.rancher.internal.", addresses_answer(["10.42.0.1"]))
    async with serving_outside(behave=silence) as outside, Forwarder(timeout=30) as forwarder:
        responder = responder_of(shared, forwarder, outside.address)
        waiting = asyncio.create_task(ask(responder, "www.example.org"))
        await asyncio.sleep(0)
        assert isinstance(responder.respond(dns.message.make_query("web.shop", "A").to_wire(), "x"), bytes)
        waiting.cancel()
        await asyncio.wait({waiting})


class TestForgery:
    """Replies that are not to our question are not looked at."""

    async def test_a_wrong_id_and_another_question_are_ignored(self) -> None:
        def forge(query: dns.message.Message) -> dns.message.Message:
            reply = dns.message.make_response(query)
            reply.id = query.id ^ 1
            return reply

        async with serving_outside(behave=forge) as outside:
            with pytest.raises(NoReply):
                await exchange(server_address(outside.address), b"\x01a\x00\x00\x01\x00\x01", timeout=0.05)

    def test_records_must_be_complete(self) -> None:
        query = dns.message.make_query("a.example", "A", id=5)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text("a.example.", 5, "IN", "A", "192.0.2.1"))
        raw = reply.to_wire()
        question = raw[12:27]
        assert parse_reply(raw, 5, question).addresses() == (b"\xc0\x00\x02\x01",)
        for end in range(12, len(raw)):
            with pytest.raises(Malformed):
                parse_reply(raw[:end], 5, question)
        with pytest.raises(Malformed):
            parse_reply(raw, 6, question)


def test_a_server_may_have_a_port() -> None:
    assert server_address("10.0.0.1") == ("10.0.0.1", 53)
    assert server_address("10.0.0.1#5353") == ("10.0.0.1", 5353)
