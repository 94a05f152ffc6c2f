"""The action that exchanges a network's pre-shared key, over the API."""

from __future__ import annotations

import pytest

from tests.server.api.channels.conftest import Wire, wire

__all__ = ["wire"]
pytestmark = pytest.mark.anyio


async def test_the_key_is_exchanged_and_never_shown(wire: Wire) -> None:
    _, found = await wire.call("GET", f"{wire.project}/networks?kind=managed")
    network = found["data"][0]
    status, changed = await wire.call("POST", network["actions"]["exchangekey"])
    assert status == 200
    assert "presharedKey" not in changed
    status, refused = await wire.call("POST", network["actions"]["exchangekey"])
    assert (status, refused["code"]) == (409, "ExchangeUnderWay")
    row = await wire.assembly.context.store.get("network", int(network["id"].removeprefix("1n")))
    assert row is not None
    key = row["presharedKey"]["key"]
    for version in ("v1", "v2-beta"):
        async with wire.session.get(f"{wire.url}/{version}/projects/1a5/networks/{network['id']}") as answer:
            text = await answer.text()
        assert answer.status == 200
        assert key not in text
        assert "presharedKey" not in text
