"""The exact codes, flags and sizes, read by another implementation of DNS."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rdataclass
import dns.rdatatype
import pytest

from drover.host.dns import wire
from drover.host.dns.forward import Forwarder
from drover.host.dns.records import Answer, addresses_answer
from drover.host.dns.responder import Responder
from drover.host.dns.view import MAX_REPLIES, Shared, View
from tests.host.dns.asking import addresses, ask, code, responder_of, send
from tests.host.dns.worlds import container, names_of, service

pytestmark = pytest.mark.anyio

WEB = "web.shop.rancher.internal."


def responder(**records: Answer) -> Responder:
    shared = Shared()
    shared.set(WEB, addresses_answer(["10.42.0.1", "10.42.0.2", "10.42.0.3"]))
    for name, answer in records.items():
        shared.set(f"{name}.rancher.internal.", answer)
    return responder_of(shared, Forwarder(clock=lambda: 0.0))


async def test_any_and_other_classes_are_not_implemented() -> None:
    assert code(await ask(responder(), "web.shop", "ANY")) == "NOTIMP"
    assert code(await send(responder(), dns.message.make_query("web.shop", "A", rdclass="CH"))) == "NOTIMP"


async def test_two_questions_fail() -> None:
    query = dns.message.make_query("web.shop", "A")
    query.question.append(dns.message.make_query("db.shop", "A").question[0])
    reply = responder().respond(query.to_wire(), "192.0.2.1")
    assert isinstance(reply, bytes)
    assert code(dns.message.from_wire(reply)) == "SERVFAIL"


async def test_another_opcode_is_not_implemented() -> None:
    query = dns.message.make_query("web.shop", "A")
    query.set_opcode(dns.opcode.STATUS)
    reply = responder().respond(query.to_wire(), "192.0.2.1")
    assert isinstance(reply, bytes)
    assert dns.message.from_wire(reply).rcode() == wire.NOTIMP


async def test_answers_are_authoritative_and_recursion_is_offered() -> None:
    reply = await ask(responder(), "web.shop")
    assert reply.flags == dns.flags.QR | dns.flags.AA | dns.flags.RA | dns.flags.RD
    assert reply.answer[0].ttl == 600


async def test_the_name_comes_back_as_it_was_asked() -> None:
    reply = await ask(responder(), "wEb.ShOp")
    assert reply.question[0].name.to_text() == "wEb.ShOp."
    assert addresses(reply) == ["10.42.0.1", "10.42.0.2", "10.42.0.3"]


async def test_every_address_comes_first_in_its_turn() -> None:
    asked = responder()
    replies = [await ask(asked, "web.shop") for _ in range(6)]
    assert sorted(each.answer[0][0].address for each in replies) == sorted(["10.42.0.1", "10.42.0.2", "10.42.0.3"] * 2)
    assert {tuple(addresses(each)) for each in replies} == {("10.42.0.1", "10.42.0.2", "10.42.0.3")}


async def test_existing_name_has_no_data_of_other_types() -> None:
    for kind in ("AAAA", "MX", "TXT", "CNAME", "HTTPS"):
        reply = await ask(responder(), WEB, kind)
        assert (code(reply), reply.answer, reply.authority) == ("NOERROR", [], [])


async def test_nothing_in_the_zone_carries_its_soa() -> None:
    reply = await ask(responder(), "no.such.rancher.internal", "MX")
    assert code(reply) == "NXDOMAIN"
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.RA
    soa = reply.authority[0][0]
    assert (soa.refresh, soa.retry, soa.expire, soa.minimum) == (60, 10, 86400, 1)
    assert soa.mname == soa.rname == reply.authority[0].name
    assert reply.authority[0].ttl == 600


async def test_serial_grows_with_changes() -> None:
    names = names_of()
    asked = responder_of(names.shared, Forwarder(clock=lambda: 0.0))
    before = (await ask(asked, "no1.rancher.internal")).authority[0][0].serial
    names.change(container("one", "10.42.0.9"))
    assert (await ask(asked, "no2.rancher.internal")).authority[0][0].serial > before


async def test_a_name_that_comes_into_being_is_not_denied_any_longer() -> None:
    names = names_of()
    asked = responder_of(names.shared, Forwarder(clock=lambda: 0.0))
    assert code(await ask(asked, WEB)) == "NXDOMAIN"
    web = service("web")
    names.change(web, container("w", "10.42.0.1", web))
    assert addresses(await ask(asked, WEB)) == ["10.42.0.1"]


@pytest.mark.parametrize("edns", [False, True])
async def test_what_does_not_fit_is_left_out_and_said(edns: bool) -> None:
    many = addresses_answer(f"10.42.7.{each}" for each in range(1, 101))
    asked = responder(many=many)
    query = {"use_edns": 0, "payload": 700} if edns else {}
    limit = 700 if edns else 512
    for _ in range(3):
        reply = await ask(asked, "many", **query)
        assert reply.flags & dns.flags.TC
        assert limit - 16 <= len(reply.to_wire()) <= limit
        assert len(addresses(reply)) > 20
        assert (reply.edns >= 0) is edns


async def test_the_rotation_of_a_truncated_answer_shows_all_addresses_in_time() -> None:
    asked = responder(many=addresses_answer(f"10.42.7.{each}" for each in range(1, 61)))
    seen: set[str] = set()
    for _ in range(60):
        seen.update(addresses(await ask(asked, "many")))
    assert len(seen) == 60


async def test_long_answers_fit_tcp_and_large_udp() -> None:
    many = addresses_answer(f"10.42.7.{each}" for each in range(1, 101))
    for reply in (
        await ask(responder(many=many), "many", tcp=True),
        await ask(responder(many=many), "many", use_edns=0, payload=4096),
    ):
        assert not reply.flags & dns.flags.TC
        assert len(addresses(reply)) == 100


async def test_edns_is_answered_with_edns() -> None:
    reply = await ask(responder(), "web.shop", use_edns=0, payload=1400)
    assert reply.edns == 0
    assert reply.payload == 1232
    assert code(await ask(responder(), "no.rancher.internal", use_edns=0)) == "NXDOMAIN"
    assert code(await ask(responder(), "web.shop", use_edns=1)) == "BADVERS"


async def test_only_questions_that_will_come_again_are_kept() -> None:
    asked = responder()
    view = asked.shared.default
    for number in range(3):
        cookie = dns.edns.GenericOption(10, bytes([number]) * 8)
        await ask(asked, "web.shop", use_edns=0, options=[cookie])
        await ask(asked, "wEb.shop")
    assert not view.replies
    await ask(asked, "web.shop", use_edns=0)
    await ask(asked, "web.shop")
    assert len(view.replies) == 2


async def test_a_flood_of_unknown_names_does_not_grow_the_memory() -> None:
    asked = responder()
    shared = asked.shared
    other = shared.clients["192.0.2.9"] = View(shared)
    shared.views.add(other)
    head, tail = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0), b"\x07rancher\x08internal\x00\x00\x01\x00\x01"
    for client in ("192.0.2.1", "192.0.2.9"):
        for number in range(MAX_REPLIES + 10):
            asked.respond(head + b"\x06" + f"n{number:05}".encode() + tail, client)
        assert shared.kept == sum(len(each.replies) for each in shared.views) == MAX_REPLIES
    assert len(other.replies) == 1, "who floods displaces what it keeps itself"
    assert len(shared.default._used_by) == len(shared.default._asked) == MAX_REPLIES - 1
    other.leave()
    assert shared.kept == MAX_REPLIES - 1


async def test_a_chain_within_the_zone_is_followed() -> None:
    asked = responder(
        first=Answer(alias="second.rancher.internal."),
        second=Answer(alias=WEB),
        self=Answer(alias="self.rancher.internal."),
        both=Answer(addresses=(b"\x0a\x2a\x00\x09",), alias="gone.rancher.internal."),
    )
    reply = await ask(asked, "first")
    assert addresses(reply) == ["10.42.0.1", "10.42.0.2", "10.42.0.3"]
    assert [each.rdtype for each in reply.answer] == [dns.rdatatype.CNAME, dns.rdatatype.CNAME, dns.rdatatype.A]
    assert (await ask(asked, "first", "CNAME")).answer[0][0].target.to_text() == "second.rancher.internal."
    assert addresses(await ask(asked, "self")) == []
    assert addresses(await ask(asked, "both")) == ["10.42.0.9"]


async def test_a_kept_chain_follows_the_change_of_its_end() -> None:
    asked = responder(first=Answer(alias=WEB))
    await ask(asked, "first")
    asked.shared.set(WEB, addresses_answer(["10.42.0.7"]))
    assert addresses(await ask(asked, "first")) == ["10.42.0.7"]


async def test_records_of_files() -> None:
    name = "1.0.42.10.in-addr.arpa."
    asked = responder(text=Answer(texts=("hello", "x" * 300), ttl=5))
    asked.shared.set(name, Answer(pointers=("web.example.",)))
    assert (await ask(asked, name, "PTR")).answer[0][0].target.to_text() == "web.example."
    texts = (await ask(asked, "text", "TXT")).answer[0]
    assert sorted(len(each.strings[0]) for each in texts) == [5, 255]
    assert texts.ttl == 5


class TestSuffixes:
    """Whose name is it? A stack may be called like a top-level domain."""

    async def test_public_names_are_not_captured(self) -> None:
        asked = responder()
        asked.shared.set("github.com.rancher.internal.", addresses_answer(["10.42.6.6"]))
        assert not isinstance(asked.respond(dns.message.make_query("github.com", "A").to_wire(), "x"), bytes)
        assert addresses(await ask(asked, "github.com.rancher.internal")) == ["10.42.6.6"]

    def test_rules(self) -> None:
        rules = responder().rules
        assert rules.suffixed("web.")
        assert rules.suffixed("com.")
        assert rules.suffixed("a.b.c.")
        assert not rules.suffixed("a.b.c.d.")
        assert not rules.suffixed("github.com.")
        assert not rules.suffixed(WEB)
        assert not rules.suffixed(".")

    def test_ndots(self) -> None:
        rules = responder_of(Shared(), Forwarder(clock=lambda: 0.0), ndots=1).rules
        assert rules.suffixed("web.")
        assert not rules.suffixed("web.shop.")

    def test_own_records_win_over_shared_ones(self) -> None:
        shared = Shared()
        view = View(shared, search=("shop.rancher.internal.", "rancher.internal."))
        shared.set("db.shop.rancher.internal.", addresses_answer(["10.0.0.1"]))
        shared.set("db.rancher.internal.", addresses_answer(["10.0.0.2"]))
        assert view.find("db.", suffixed=True)[0] == addresses_answer(["10.0.0.1"])
        view.set("db.rancher.internal.", addresses_answer(["10.0.0.3"]))
        assert view.find("db.", suffixed=True)[0] == addresses_answer(["10.0.0.3"])


class TestHostileBytes:
    """What arrives on the port is anybody's."""

    def test_too_short_and_replies_are_not_answered(self) -> None:
        assert responder().respond(b"", "x") is None
        assert responder().respond(b"\x00" * 11, "x") is None
        reply = dns.message.make_response(dns.message.make_query("a", "A")).to_wire()
        assert responder().respond(reply, "x") is None

    def test_unreadable_questions_are_format_errors(self) -> None:
        head = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0)
        for body in (
            b"",
            b"\x05ab",
            b"\xc0\x0c\x00\x01\x00\x01",
            b"\xc0\xff",
            b"\x41" * 70,
            b"\x3f" + b"a" * 63,
            b"\x00\x00",
        ):
            reply = responder().respond(head + body, "x")
            assert isinstance(reply, bytes)
            assert reply[:2] == b"\x00\x07"
            assert reply[3] & 0xF == wire.FORMERR

    def test_a_promised_record_must_be_there(self) -> None:
        query = bytearray(dns.message.make_query("web.shop", "A").to_wire())
        query[11] = 1
        reply = responder().respond(bytes(query), "x")
        assert isinstance(reply, bytes)
        assert reply[3] & 0xF == wire.FORMERR

    def test_dots_within_labels_are_no_separators(self) -> None:
        raw = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\x08web.shop\x08internal\x00\x00\x01\x00\x01"
        assert wire.parse_query(raw).name == "web\\046shop.internal."

    def test_random_bytes_break_nothing(self) -> None:
        import random

        asked, draw = responder(), random.Random(1)
        valid = dns.message.make_query("web.shop", "A", use_edns=0).to_wire()
        for _ in range(3000):
            data = bytearray(valid)
            for _ in range(draw.randint(1, 6)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            reply = asked.respond(bytes(data[: draw.randint(0, len(data))]), "x")
            if reply is not None and not isinstance(reply, bytes):
                reply.close()
