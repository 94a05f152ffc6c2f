"""Agents: found, lost, found again, removed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drover.server.bus import Event, NoAnswer
from drover.server.orchestration.agents.channel import AgentGone
from drover.server.orchestration.credentials import unseal
from drover.server.store import Record
from tests.server.orchestration.conftest import FAST, Platform, leave_unanswered, next_event, running

pytestmark = pytest.mark.anyio


async def agent_of(platform: Platform, host: Record) -> Record:
    agent = await platform.store.get("agent", int(host["agentId"]))
    assert agent is not None
    return agent


async def test_an_agent_gets_an_account_and_a_readable_key(platform: Platform) -> None:
    agent = await platform.create_agent()
    active = await platform.until("agent", agent.id, "active")
    account = await platform.store.get("account", int(active["accountId"]))
    assert account is not None
    assert (account.kind, account.uuid) == ("agent", f"agentAccount{agent.id}")
    key = await platform.store.first("credential", accountId=account.id, kind="agentApiKey", state="active")
    assert key is not None
    assert len(key["publicValue"]) == 20
    assert len(unseal(key, platform.context.vault)) == 40


async def test_a_silent_agent_is_disconnected_and_comes_back(platform: Platform) -> None:
    host = await platform.create_host()
    agent = await agent_of(platform, host)
    model = platform.hosting.simulated.model(agent.id)
    model.connected = False
    await platform.until("agent", agent.id, "disconnected")
    lost = await platform.reload(host)
    assert (lost.state, lost["agentState"]) == ("active", "disconnected")
    assert "its agent is disconnected" in await refused(platform)

    model.connected = True
    platform.context.bus.publish(Event(name="agent.connected", resource_type="agent", resource_id=str(agent.id)))
    await platform.until("agent", agent.id, "active")
    await platform.eventually(lambda: agent_state(platform, host, "active"))
    await platform.start()


async def refused(platform: Platform) -> str:
    failed = await platform.until("instance", (await platform.plan()).id, "error")
    return str(failed["transitioningMessage"])


async def agent_state(platform: Platform, host: Record, state: str) -> bool:
    return bool((await platform.reload(host))["agentState"] == state)


async def test_a_short_silence_costs_nothing_but_a_reconnect(tmp_path: Path) -> None:
    async with running(tmp_path, {**FAST, "CATTLE_AGENT_DISCONNECT_AFTER_SECONDS": "1000"}) as platform:
        host = await platform.create_host()
        agent = await agent_of(platform, host)
        container = await platform.start()
        model = platform.hosting.simulated.model(agent.id)
        model.connected = False
        await platform.until("agent", agent.id, "reconnecting")
        model.connected = True
        await platform.until("agent", agent.id, "active")
        assert (await platform.reload(container)).state == "running"


async def test_only_agents_that_are_there_are_asked(platform: Platform) -> None:
    host = await platform.create_host()
    agent = await agent_of(platform, host)
    channel = platform.hosting.channel
    assert await channel.call(agent.id, "ping", data={"options": {}}) == {"resources": []}
    await platform.schedule("agent.deactivate", agent)
    await platform.until("agent", agent.id, "inactive")
    with pytest.raises(NoAnswer, match="is inactive"):
        await channel.call(agent.id, "ping")
    await platform.schedule("agent.remove", agent)
    await platform.until("agent", agent.id, "removed")
    with pytest.raises(AgentGone):
        await channel.call(agent.id, "ping")


async def test_removing_an_agent_takes_its_host_and_keys_along(platform: Platform) -> None:
    host = await platform.create_host()
    agent = await agent_of(platform, host)
    await platform.schedule("agent.deactivate", agent, chainTo="agent.remove")
    await platform.until("agent", agent.id, "removed")
    await platform.until("host", host.id, "removed")
    keys = await platform.store.find_by("credential", accountId=agent["accountId"], removed=None)
    assert keys == []


async def test_a_foreign_reply_is_not_believed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_unanswered(monkeypatch, "compute.instance.inspect")
    host = await platform.create_host()
    agent = await agent_of(platform, host)
    subscription = platform.context.bus.subscribe([f"compute.instance.inspect;agent={agent.id}"])
    asked = asyncio.create_task(platform.hosting.channel.call(agent.id, "compute.instance.inspect", timeout=0.2))
    question = await next_event(subscription)
    with pytest.raises(Exception, match="not put to you"):
        platform.context.bus.reply(
            Event(name=question.reply_to or "", previous_ids=[question.id], data={}), sender="agent:999"
        )
    with pytest.raises(NoAnswer):
        await asked


async def test_an_agent_can_be_made_a_simulated_one(platform: Platform) -> None:
    agent = await platform.create_agent("event://nobody-there")
    active = await platform.until("agent", agent.id, "active")
    assert await platform.store.find_by("host") == []
    changes = platform.store.changes()
    changes.update(active, {"uri": "sim://now"})
    await platform.store.commit(changes)
    await platform.eventually(lambda: platform.store.first("host", agentId=agent.id, state="active"))
