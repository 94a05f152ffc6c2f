"""Replies of other name servers: checked, kept as bytes, and passed on with another id and younger times to live."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from drover.host.dns import wire
from drover.host.dns.wire import Malformed, Query

_FIXED = struct.Struct("!HHIH")
_TTL = struct.Struct("!I")
_AUTHENTIC = 0x0020


class Section(NamedTuple):
    """One record of a message: where its owner begins, its fixed fields and where its data is."""

    start: int
    kind: int
    ttl_at: int
    ttl: int
    data_at: int
    end: int


@dataclass(frozen=True, slots=True)
class Message:
    """A reply without its question and additional section. ``body`` are the answers and the authority, whose pointers
    assume that a question of ``body_at - 12`` bytes stands before them; ``records`` has positions within ``body``.
    """

    flags: int
    body: bytes
    body_at: int
    answers: int
    records: tuple[Section, ...]

    @property
    def rcode(self) -> int:
        return self.flags & 0xF

    @property
    def truncated(self) -> bool:
        return bool(self.flags & wire.TRUNCATED)

    def lifetime(self, *, longest: float, without_soa: float) -> float:
        """Seconds that the reply may be kept: its shortest time to live, or for an empty one what the SOA says."""
        if self.rcode not in (wire.NOERROR, wire.NXDOMAIN):
            return 0.0
        if self.answers:
            return min(longest, *(each.ttl for each in self.records[: self.answers]))
        for each in self.records:
            if each.kind == wire.SOA and each.end - each.data_at >= 22:
                minimum: int = _TTL.unpack_from(self.body, each.end - 4)[0]
                return min(longest, each.ttl, minimum)
        return min(longest, without_soa)

    def addresses(self) -> tuple[bytes, ...]:
        """The IPv4 addresses among the answers, whatever chain of names leads to them."""
        return tuple(
            self.body[each.data_at : each.end]
            for each in self.records[: self.answers]
            if each.kind == wire.A and each.end - each.data_at == 4
        )

    def reply(self, query: Query, limit: int, *, age: int = 0, ttl: int | None = None) -> bytes:
        """For the asker of ``query``: what fits, each time to live shortened by ``age`` seconds or set to ``ttl``.

        That a name does not exist is not passed on to those who ask for IPv6 addresses: it may exist with others, and
        some resolvers take the one for the other.
        """
        body = bytearray(self.body)
        for each in self.records:
            left = max(0, each.ttl - age) if ttl is None else ttl
            _TTL.pack_into(body, each.ttl_at, left)
        rcode = self.rcode
        if rcode == wire.NXDOMAIN and query.type == wire.AAAA:
            rcode = wire.NOERROR
        tail = b"" if query.edns is None else wire.opt()
        room = limit - 12 - len(query.question) - len(tail)
        flags = wire.RECURSION_AVAILABLE | (self.flags & (_AUTHENTIC | wire.TRUNCATED))
        answers, authorities, end = self.answers, len(self.records) - self.answers, len(body)
        if end > room:
            authorities, flags = 0, flags | wire.TRUNCATED
            answers = sum(1 for each in self.records[:answers] if each.end <= room)
            end = self.records[answers - 1].end if answers else 0
        head = wire.header(query, flags, rcode, answers, authorities)
        return head + query.question + bytes(body[:end]) + tail


def parse_reply(data: bytes, number: int, question: bytes) -> Message:
    """Raises Malformed for anything but the reply to the question that was sent with this id."""
    try:
        found, flags, questions, answers, authorities, _ = wire.HEADER.unpack_from(data)
        body_at = 12 + len(question)
        if found != number or not flags & wire.QR or questions != 1:
            raise Malformed("not the reply to this query")
        if data[12:body_at].lower() != question.lower():
            raise Malformed("the reply to another question")
        records = tuple(_records(data, body_at, answers + authorities))
    except (struct.error, IndexError) as error:
        if len(data) >= 12 and data[2] & 0x02:
            raise Malformed("truncated within a record") from error
        raise Malformed(str(error)) from error
    end = records[-1].end + body_at if records else body_at
    return Message(flags, data[body_at:end], body_at, answers, records)


def _records(data: bytes, body_at: int, count: int) -> Iterator[Section]:
    at = body_at
    for _ in range(count):
        owner_end = wire.skip_name(data, at)
        kind, _, ttl, length = _FIXED.unpack_from(data, owner_end)
        data_at = owner_end + 10
        end = data_at + length
        if end > len(data):
            raise Malformed("shorter than it says")
        yield Section(at - body_at, kind, owner_end + 4 - body_at, ttl, data_at - body_at, end - body_at)
        at = end


def query_bytes(number: int, question: bytes, *, dnssec_ok: bool, checking_disabled: bool) -> bytes:
    """A query of our own, with recursion asked for."""
    flags = wire.RECURSION_DESIRED | (wire.CHECKING_DISABLED if checking_disabled else 0)
    edns = b"\x00" + _FIXED.pack(wire.OPT, wire.OWN_SIZE, wire.DNSSEC_OK if dnssec_ok else 0, 0)
    return wire.HEADER.pack(number, flags, 1, 0, 0, 1) + question + edns
