"""The action that exchanges a network's pre-shared key, over the API."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

import pytest

from drover.host.network.routers.keys import KeySource, NoKey
from drover.host.network.routers.settings import IpsecSettings
from drover.server.orchestration.networks.psk import ROUTER_LABEL
from tests.server.api.channels.conftest import Agent, Wire, wire

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


async def test_a_router_reads_its_keys_from_the_server(wire: Wire, tmp_path: Path) -> None:
    router, other = await router_agent(wire), await wire.register(2)
    keys = await source(wire, router, tmp_path / "router").read()
    assert len(keys.keys) == 1
    _, found = await wire.call("GET", f"{wire.project}/networks?kind=managed")
    await wire.call("POST", found["data"][0]["actions"]["exchangekey"])
    during = await source(wire, router, tmp_path / "router").read()
    assert during.keys[0] == keys.keys[0]
    assert len(set(during.keys)) == 2
    assert during.refresh_seconds is not None
    with pytest.raises(NoKey, match="404"):
        await source(wire, other, tmp_path / "other").read()


def source(wire: Wire, agent: Agent, folder: Path) -> KeySource:
    access, _, secret = base64.b64decode(agent.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    settings = IpsecSettings(server_url=f"{wire.url}/v1", access_key=access, secret_key=secret, state_dir=folder)
    return KeySource(settings)


async def router_agent(wire: Wire) -> Agent:
    """An agent's keys that are those of a router container of the managed network."""
    agent = await wire.register(1)
    _, found = await wire.call("GET", f"{wire.project}/networks?kind=managed")
    network = await wire.assembly.context.store.get("network", int(found["data"][0]["id"].removeprefix("1n")))
    row = await wire.assembly.context.store.get("agent", agent.id)
    assert network is not None
    assert row is not None
    changes = wire.assembly.context.store.changes()
    common = {"kind": "container", "state": "running", "accountId": network.account_id, "system": True}
    holder = changes.insert("instance", {**common, "uuid": str(uuid.uuid4()), "primaryNetworkId": network.id})
    values = {"labels": {ROUTER_LABEL: "true"}, "networkContainerId": holder.id, "agentId": agent.id}
    instance = changes.insert("instance", {**common, **values, "uuid": str(uuid.uuid4())})
    changes.update(row, {"uri": f"event:///instanceId={instance.id}"})
    await wire.assembly.context.store.commit(changes)
    return agent
