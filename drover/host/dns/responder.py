"""From the bytes of a question to the bytes of the answer.

The order is that of Rancher 1.6: what the client or everybody knows under the name; then, for names of the zone, that
there is nothing; then the name servers outside. Whatever is known here is answered at once, and kept as bytes for the
next one who asks the same.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from itertools import repeat
from random import randrange
from typing import Any

from drover.host.dns import wire
from drover.host.dns.forward import Forwarder, Found, Request
from drover.host.dns.records import ZONE, Answer
from drover.host.dns.view import Shared, View
from drover.host.dns.wire import ASKED_NAME, Malformed, Query

MAX_ALIASES = 10
Later = Coroutine[Any, Any, bytes]


@dataclass(frozen=True, slots=True)
class Rules:
    """``ttl`` in seconds. Search suffixes are tried for names of fewer than ``ndots`` dots (0: of any number) with at
    most ``suffix_labels`` labels that do not end in one of ``public`` (``com.``).
    """

    ttl: int = 600
    ndots: int = 0
    suffix_labels: int = 3
    public: frozenset[str] = frozenset()

    def suffixed(self, name: str) -> bool:
        if name.endswith("." + ZONE) or name in (ZONE, "."):
            return False
        dots = name.count(".") - 1
        if dots + 1 > self.suffix_labels or (self.ndots and dots >= self.ndots):
            return False
        return dots == 0 or name.rsplit(".", 2)[-2] + "." not in self.public


@dataclass(frozen=True, slots=True)
class _Local:
    """What is known here: a chain of names, the addresses at its end, or the name to ask others for."""

    answer: Answer
    aliases: tuple[str, ...]
    addresses: tuple[bytes, ...]
    outside: str | None
    names: tuple[str, ...]
    """All that were looked up."""


class Responder:
    """``servers`` are asked for what is not known here, after the client's own."""

    def __init__(self, shared: Shared, forwarder: Forwarder, rules: Rules, *, servers: tuple[str, ...] = ()) -> None:
        self.shared = shared
        self.forwarder = forwarder
        self.rules = rules
        self.servers = servers

    def respond(self, data: bytes, client: str, *, tcp: bool = False) -> bytes | Later | None:
        """The reply, or a coroutine that gets it from outside, or None when there is nothing to be said."""
        view = self.shared.clients.get(client, self.shared.default)
        if not tcp and (kept := view.replies.get(data[2:])) is not None:
            return data[:2] + next(kept)
        try:
            query = wire.parse_query(data)
        except Malformed:
            return wire.refusal(data, wire.FORMERR)
        limit = wire.TCP_SIZE if tcp else query.limit
        if query.flags & wire.OPCODE:
            return wire.reply(query, limit, rcode=wire.NOTIMP)
        if query.questions != 1:
            return wire.reply(query, limit, rcode=wire.SERVFAIL)
        if query.edns is not None and query.edns.version:
            return wire.reply(query, limit, rcode=wire.BADVERS, flags=0)
        if query.cls != wire.IN or query.type == wire.ANY:
            return wire.reply(query, limit, rcode=wire.NOTIMP)
        reply, names = self._from_here(view, query, limit)
        if isinstance(reply, Iterator):
            if query.repeats and not tcp:
                view.keep(data[2:], reply, names)
            return query.id.to_bytes(2) + next(reply)
        return reply

    def _from_here(
        self, view: View, query: Query, limit: int
    ) -> tuple[Iterator[bytes] | bytes | Later, tuple[str, ...]]:
        """Replies without id that may be given again as long as ``names`` mean the same, or how to get one."""
        local = self._look_up(view, query.name)
        if local is None:
            names = view.find(query.name, suffixed=self.rules.suffixed(query.name))[1]
            if _in_zone(query.name):
                return repeat(self._nothing(query, limit)[2:]), names
            return self._outside(view, query, limit), names
        if query.type in (wire.A, wire.AAAA) and local.outside is not None:
            return self._chase(view, query, limit, local), local.names
        return self._answers(query, limit, local), local.names

    def _look_up(self, view: View, name: str) -> _Local | None:
        """Follow a name through as many others as need be, as far as they are known here."""
        answer, names = view.find(name, suffixed=self.rules.suffixed(name))
        if answer is None:
            return None
        aliases: list[str] = []
        current: Answer | None = answer
        while current is not None and current.alias is not None:
            target = current.alias
            if target in (name, *aliases) or len(aliases) == MAX_ALIASES:
                return _Local(answer, (), answer.addresses, None, names)
            aliases.append(target)
            current, more = view.find(target, suffixed=self.rules.suffixed(target))
            names = (*names, *more)
        if current is None and not _in_zone(aliases[-1]):
            return _Local(answer, tuple(aliases), (), aliases[-1], names)
        if current is None or not current.addresses:
            return _Local(answer, (), answer.addresses, None, names)
        return _Local(answer, tuple(aliases), current.addresses, None, names)

    def _answers(self, query: Query, limit: int, local: _Local) -> Iterator[bytes]:
        ttl = self.rules.ttl if local.answer.ttl is None else local.answer.ttl
        if query.type == wire.A and local.addresses:
            return _address_replies(query, limit, local.aliases, local.addresses, ttl)
        records: list[bytes] = []
        if query.type == wire.CNAME and local.answer.alias is not None:
            records = [wire.record(wire.CNAME, ttl, wire.write_name(local.answer.alias))]
        elif query.type == wire.PTR:
            records = [wire.record(wire.PTR, ttl, wire.write_name(each)) for each in local.answer.pointers]
        elif query.type == wire.TXT:
            texts = (each.encode()[:255] for each in local.answer.texts)
            records = [wire.record(wire.TXT, ttl, bytes((len(each),)) + each) for each in texts]
        return repeat(wire.reply(query, limit, answers=records)[2:])

    def _nothing(self, query: Query, limit: int) -> bytes:
        """The name does not exist in the zone: said with authority, so that nobody asks anybody else."""
        soa = wire.soa(ZONE, self.shared.serial, self.rules.ttl)
        return wire.reply(query, limit, rcode=wire.NXDOMAIN, flags=wire.AUTHORITATIVE, authority=(soa,))

    def _outside(self, view: View, query: Query, limit: int) -> bytes | Later:
        request = self._request(view, query, query.question.lower())
        found = self.forwarder.cached(request)
        if found is not None:
            return _relay(found, query, limit)
        return self._ask_outside(request, query, limit)

    async def _ask_outside(self, request: Request, query: Query, limit: int) -> bytes:
        found = await self.forwarder.find(request)
        if found is None:
            return wire.reply(query, limit, rcode=wire.SERVFAIL, flags=wire.RECURSION_AVAILABLE)
        return _relay(found, query, limit)

    async def _chase(self, view: View, query: Query, limit: int, local: _Local) -> bytes:
        """A name here that stands for one outside: the chain, and the addresses that others know for its end."""
        question = wire.write_name(local.outside or ".") + b"\x00\x01\x00\x01"
        found = await self.forwarder.find(self._request(view, query, question))
        addresses = found.message.addresses() if found else ()
        aliases, ttl = local.aliases, self.rules.ttl if local.answer.ttl is None else local.answer.ttl
        if found is not None and addresses:
            ttl = min(ttl, _shortest(found))
        elif local.answer.addresses:
            aliases, addresses = (), local.answer.addresses
        elif _in_zone(query.name):
            return self._nothing(query, limit)
        else:
            outside = self._outside(view, query, limit)
            return outside if isinstance(outside, bytes) else await outside
        if query.type == wire.AAAA:
            return wire.reply(query, limit)
        return query.id.to_bytes(2) + next(_address_replies(query, limit, aliases, addresses, ttl))

    def _request(self, view: View, query: Query, question: bytes) -> Request:
        return Request(
            question,
            (*view.upstreams, *self.servers),
            dnssec_ok=query.edns is not None and query.edns.dnssec_ok,
            checking_disabled=bool(query.flags & wire.CHECKING_DISABLED),
        )


def _address_replies(
    query: Query, limit: int, aliases: tuple[str, ...], addresses: tuple[bytes, ...], ttl: int
) -> Iterator[bytes]:
    """Without end: replies without id in which each address comes first in its turn, beginning anywhere."""
    chain, owner, at = [], ASKED_NAME, 12 + len(query.question)
    for alias in aliases:
        chain.append(wire.record(wire.CNAME, ttl, wire.write_name(alias), owner))
        owner = (0xC000 | (at + 12)).to_bytes(2)  # its data begin after a pointer of 2 and fixed fields of 10 bytes
        at += len(chain[-1])
    turn = randrange(len(addresses))  # noqa: S311 - spreads load, guards nothing
    records = [wire.record(wire.A, ttl, each, owner) for each in (*addresses[turn:], *addresses[:turn])]
    first = wire.reply(query, limit, answers=(*chain, *records))[2:]
    shown = int.from_bytes(first[4:6]) - len(chain)
    if len(records) < 2 or shown < 1:
        return repeat(first)
    start = at - 2
    size = len(records[0])
    return _rotations(first[:start], b"".join(records) * 2, size, len(records), shown, first[start + shown * size :])


def _rotations(head: bytes, twice: bytes, size: int, count: int, shown: int, tail: bytes) -> Iterator[bytes]:
    length = shown * size
    while True:
        for at in range(0, count * size, size):
            yield head + twice[at : at + length] + tail


def _relay(found: Found, query: Query, limit: int) -> bytes:
    return found.message.reply(query, limit, age=found.age, ttl=found.ttl)


def _shortest(found: Found) -> int:
    if found.ttl is not None:
        return found.ttl
    return max(0, min(each.ttl for each in found.message.records[: found.message.answers]) - found.age)


def _in_zone(name: str) -> bool:
    return name.endswith("." + ZONE) or name == ZONE
