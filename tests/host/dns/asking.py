"""Questions to a responder, read with an implementation of DNS that is not ours."""

from __future__ import annotations

from typing import Any

import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from drover.host.dns.forward import Forwarder
from drover.host.dns.responder import Responder, Rules
from drover.host.dns.view import Shared


def responder_of(shared: Shared, forwarder: Forwarder, *servers: str, **rules: Any) -> Responder:
    return Responder(shared, forwarder, Rules(**{"ttl": 600, "public": frozenset({"com."}), **rules}), servers=servers)


async def ask(
    responder: Responder, name: str, kind: str = "A", *, client: str = "192.0.2.1", tcp: bool = False, **query: Any
) -> dns.message.Message:
    return await send(responder, dns.message.make_query(name, kind, **query), client=client, tcp=tcp)


async def send(
    responder: Responder, query: dns.message.Message, *, client: str = "192.0.2.1", tcp: bool = False
) -> dns.message.Message:
    reply = responder.respond(query.to_wire(), client, tcp=tcp)
    assert reply is not None
    raw = reply if isinstance(reply, bytes) else await reply
    message = dns.message.from_wire(raw)
    assert query.is_response(message)
    if query.edns < 0 and not tcp:
        assert len(raw) <= 512
    return message


def addresses(message: dns.message.Message) -> list[str]:
    """The A and AAAA records, sorted; their owners are checked to be the asked name or the end of its chain."""
    owner = message.question[0].name
    found = []
    for rrset in message.answer:
        assert rrset.name == owner
        if rrset.rdtype == dns.rdatatype.CNAME:
            owner = rrset[0].target
        else:
            found += [each.address for each in rrset]
    return sorted(found)


def code(message: dns.message.Message) -> str:
    return dns.rcode.to_text(message.rcode())
