"""Every documented form of a name, from every kind of client, as Rancher 1.6 answers it."""

from __future__ import annotations

from typing import Any

import dns.flags
import dns.rdatatype
import pytest

from drover.host.dns.forward import Forwarder
from drover.host.dns.view import View
from tests.host.dns.asking import addresses, ask, code, responder_of
from tests.host.dns.conftest import serving_outside
from tests.host.dns.worlds import NAME_CASES, case_objects, names_of

pytestmark = pytest.mark.anyio

UPSTREAM = {(name, "A"): addresses for name, addresses in NAME_CASES["upstream"].items()}


@pytest.mark.parametrize(
    "case", NAME_CASES["cases"], ids=lambda case: f"{case['client']}-{case['name']}-{case['type']}".rstrip(".")
)
async def test_case(case: dict[str, Any]) -> None:
    expected = case["expect"]
    client = NAME_CASES["clients"][case["client"]]["ip"]
    async with serving_outside(records=dict(UPSTREAM)) as outside, Forwarder() as forwarder:
        responder = responder_of(names_of(*case_objects()).shared, forwarder, outside.address)
        for _ in range(2):  # a kept reply says the same
            reply = await ask(responder, case["name"], case["type"], client=client)
            if expected["rcode"] == "upstream":
                assert outside.asked == [f"{case['name']}. {case['type']}"]
                assert code(reply) == "NXDOMAIN"
                continue
            assert code(reply) == expected["rcode"]
            assert addresses(reply) == expected.get("a", [])
            chain = [each[0].target.to_text() for each in reply.answer if each.rdtype == dns.rdatatype.CNAME]
            assert chain == ([expected["cname"]] if "cname" in expected else [])
            if "authority" in expected:
                soa = reply.authority[0]
                assert f"{dns.rdatatype.to_text(soa.rdtype)} {soa.name}" == expected["authority"]
                assert reply.flags & dns.flags.AA
                assert not reply.flags & dns.flags.RA
            if expected.get("from") == "upstream":
                assert outside.asked


def test_shared_records() -> None:
    shared = names_of(*case_objects()).shared
    found = {
        name: {"A": sorted(each.texts_of_addresses), "CNAME": [each.alias] if each.alias else []}
        for name, each in shared.records.items()
    }
    assert found == NAME_CASES["shared_records"]


def test_client_records() -> None:
    shared = names_of(*case_objects()).shared
    found = {address: _own(view) for address, view in shared.clients.items() if view.records}
    assert found == NAME_CASES["client_records"]


def _own(view: View) -> dict[str, dict[str, list[str]]]:
    return {name: {"A": sorted(each.texts_of_addresses), "CNAME": []} for name, each in view.records.items()}
