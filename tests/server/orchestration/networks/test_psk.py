"""The pre-shared key of a network: who gets it, and how it is exchanged."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from drover.server.orchestration.networks import psk
from drover.server.orchestration.networks.psk import (
    OVERLAP_SECONDS,
    SPREAD_SECONDS,
    ExchangeUnderWay,
    NetworkKeys,
    StoredKeys,
    Validity,
    valid_keys,
)
from drover.server.snapshot import facts
from drover.server.snapshot.sheet import Look, Sheet
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

ROUTER = {psk.ROUTER_LABEL: "true"}


async def network_of(platform: Platform) -> Record:
    network = await platform.store.first("network", accountId=platform.environment.id, kind="cni")
    if network is None:
        changes = platform.store.changes()
        values = {"uuid": str(uuid.uuid4()), "kind": "cni", "state": "active", "accountId": platform.environment.id}
        network = changes.insert("network", values)
        await platform.store.commit(changes)
    return network


async def router(platform: Platform, **values: Any) -> Record:
    """The agent of a router container beside its holder; `values` are the router's."""
    network = await network_of(platform)
    changes = platform.store.changes()
    common = {"kind": "container", "state": "running", "accountId": platform.environment.id, "system": True}
    holder = changes.insert("instance", {**common, "uuid": str(uuid.uuid4()), "primaryNetworkId": network.id})
    instance = changes.insert(
        "instance",
        {**common, "uuid": str(uuid.uuid4()), "labels": ROUTER, "networkContainerId": holder.id, **values},
    )
    agent = changes.insert(
        "agent",
        {"uuid": str(uuid.uuid4()), "kind": "agent", "state": "active", "uri": f"event:///instanceId={instance.id}"},
    )
    changes.update(instance, {"agentId": agent.id})
    await platform.store.commit(changes)
    return agent


async def all_keys(keys: NetworkKeys, agent: Record) -> dict[str, Any]:
    content = await keys.content(agent, {"keys": "all"})
    assert content is not None
    return dict(msgspec.json.decode(content))


async def test_a_router_gets_the_key_of_its_network(platform: Platform) -> None:
    keys = NetworkKeys(platform.context)
    first, second = await router(platform), await router(platform)
    key = await keys.content(first, {})
    assert key is not None
    assert len(bytes.fromhex(key.decode())) == 16
    assert await keys.content(second, {}) == key
    assert await all_keys(keys, first) == {"keys": [key.decode()], "refresh_seconds": None}
    assert await keys.applied(first, "latest")
    network = await network_of(platform)
    assert key.decode() not in str(network.values), "at rest it is encrypted"


async def test_routers_that_ask_at_the_same_time_get_the_same_key(platform: Platform) -> None:
    agents = [await router(platform) for _ in range(5)]
    answers = await asyncio.gather(*(NetworkKeys(platform.context).content(agent, {}) for agent in agents))
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"system": False},
        {"labels": {}},
        {"state": "removed"},
        {"networkContainerId": None},
        {"accountId": 999},
    ],
)
async def test_nobody_else_gets_it(platform: Platform, values: dict[str, Any]) -> None:
    agent = await router(platform, **values)
    assert await NetworkKeys(platform.context).content(agent, {}) is None
    assert not await NetworkKeys(platform.context).applied(agent, "latest")


async def test_an_agent_of_a_host_does_not_get_it(platform: Platform) -> None:
    agent = await platform.create_agent()
    assert await NetworkKeys(platform.context).content(agent, {}) is None


def test_an_exchange_has_three_steps() -> None:
    stored = StoredKeys(revision=2, key="new", former="old", since=1_000_000)
    spread, overlap = SPREAD_SECONDS * 1000, OVERLAP_SECONDS * 1000
    assert valid_keys(stored, 1_000_000) == Validity(("old", "new"), SPREAD_SECONDS)
    assert valid_keys(stored, 1_000_000 + spread - 1) == Validity(("old", "new"), 1)
    assert valid_keys(stored, 1_000_000 + spread) == Validity(("new", "old"), OVERLAP_SECONDS)
    assert valid_keys(stored, 1_000_000 + spread + overlap) == Validity(("new",))
    assert valid_keys(StoredKeys(revision=1, key="only"), 0) == Validity(("only",))


async def test_an_exchange_adds_a_key_and_is_one_at_a_time(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, agent = NetworkKeys(platform.context), await router(platform)
    before = (await all_keys(keys, agent))["keys"][0]
    network = await keys.exchange(await network_of(platform))
    during = await all_keys(keys, agent)
    assert during["keys"][0] == before
    assert len(during["keys"]) == 2
    assert 0 < during["refresh_seconds"] <= SPREAD_SECONDS
    assert await keys.content(agent, {}) == before.encode()
    with pytest.raises(ExchangeUnderWay, match="try again in"):
        await keys.exchange(network)
    later = psk.now_ms() + (SPREAD_SECONDS + OVERLAP_SECONDS) * 1000
    monkeypatch.setattr(psk, "now_ms", lambda: later)
    assert (await all_keys(keys, agent)) == {"keys": [during["keys"][1]], "refresh_seconds": None}
    await keys.exchange(await network_of(platform))
    assert (await all_keys(keys, agent))["keys"][0] == during["keys"][1]


def test_hosts_see_that_a_key_was_exchanged_and_nothing_of_it() -> None:
    stored = msgspec.to_builtins(StoredKeys(revision=2, key="vault:1:new", former="vault:1:old", since=1))
    row = Record("network", 7, {"uuid": "n", "kind": "cni", "metadata": {"cniConfig": {}}, psk.FIELD: stored})
    sheet = Sheet({})
    facts._network(sheet, row, gone=False)
    shown = Look(sheet._facts).fact("network", 7)
    assert shown.metadata == {"cniConfig": {}, "pskRevision": 2}
    assert "vault" not in str(shown)
