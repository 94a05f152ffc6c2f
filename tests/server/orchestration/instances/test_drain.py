"""Before a target of a load balancer stops, the balancer lets go of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from drover.server.bus import Event
from drover.server.orchestration.agents.connections import CONNECTED
from drover.server.orchestration.instances.drain import DEFAULT_DRAIN_MS, DRAIN_PROVIDER
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio


@dataclass
class Balancer:
    """The agent of a balancer's container, as far as the server sees it."""

    platform: Platform
    agent: Record
    service: Record
    asked: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str | None] = field(default_factory=list)
    patience: float = 0.0
    answers: bool = True
    failure: str = ""

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        bus = self.platform.context.bus
        subscription = bus.subscribe([f"target.drain;agent={self.agent.id}"])
        task = asyncio.create_task(self._answer(subscription))
        bus.publish(Event(name=CONNECTED, resource_type="agent", resource_id=str(self.agent.id)))
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
            subscription.close()

    async def _answer(self, subscription: Any) -> None:
        async for event in subscription:
            self.asked.append(event.data)
            await asyncio.sleep(self.patience)
            row = await self.platform.store.get("instance", int(event.resource_id))
            assert row is not None
            assert row.state == "stopping"
            self.messages.append(row["transitioningMessage"])
            if self.answers:
                reply = Event(name=event.reply_to, previous_ids=[event.id], resource_type="instance")
                if self.failure:
                    reply.transitioning, reply.transitioning_message = "error", self.failure
                self.platform.context.bus.reply(reply, sender=f"agent:{self.agent.id}")


async def service(platform: Platform, name: str, **values: Any) -> Record:
    changes = platform.store.changes()
    record = changes.insert(
        "service",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "service",
            "state": "active",
            "accountId": platform.environment.id,
            "name": name,
            **values,
        },
    )
    await platform.store.commit(changes)
    return record


async def balancer(platform: Platform, *rules: dict[str, Any], labels: dict[str, str] | None = None) -> Balancer:
    """A balancer service with one container whose agent is there."""
    agent = await platform.create_agent()
    await platform.until("agent", agent.id, "active")
    owner = await service(
        platform,
        "lb",
        kind="loadBalancerService",
        launchConfig={"labels": labels or {}},
        lbConfig={"portRules": list(rules)},
    )
    container = await platform.start(serviceId=owner.id, labels={DRAIN_PROVIDER: "true"})
    changes = platform.store.changes()
    changes.update(container, {"agentId": agent.id})
    await platform.store.commit(changes)
    return Balancer(platform, agent, owner)


async def stopped(platform: Platform, target: Record) -> Record:
    container = await platform.start(serviceId=target.id)
    await platform.schedule("instance.stop", container, timeout=0)
    return await platform.until("instance", container.id, "stopped")


async def test_the_balancer_lets_go_first(platform: Platform) -> None:
    await platform.create_host()
    web = await service(platform, "web")
    lb = await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    async with lb.connected():
        container = await platform.start(serviceId=web.id)
        await platform.schedule("instance.stop", container, timeout=0)
        await platform.until("instance", container.id, "stopped")
    assert lb.asked == [{"targetIPaddress": container["primaryIpAddress"], "drainTimeout": str(DEFAULT_DRAIN_MS)}]


async def test_a_long_drain_is_shown(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drover.server.orchestration.instances.drain._TELL_SECONDS", 0.75)
    await platform.create_host()
    web = await service(platform, "web")
    lb = await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    lb.patience = 1.2
    async with lb.connected():
        container = await stopped(platform, web)
    assert lb.messages == ["Draining..."]
    assert (await platform.reload(container))["transitioningMessage"] is None


async def test_the_time_comes_from_the_launch_configuration(platform: Platform) -> None:
    await platform.create_host()
    web = await service(platform, "web", launchConfig={"drainTimeoutMs": 30000, "labels": {"tier": "front"}})
    lb = await balancer(platform, {"sourcePort": 80, "selector": "tier=front"})
    async with lb.connected():
        await stopped(platform, web)
    assert [each["drainTimeout"] for each in lb.asked] == ["30000"]


async def test_a_target_may_choose_its_balancers(platform: Platform) -> None:
    await platform.create_host()
    web = await service(platform, "web", selectorLink="role=edge")
    lb = await balancer(platform, labels={"role": "edge"})
    async with lb.connected():
        await stopped(platform, web)
    assert len(lb.asked) == 1


async def test_others_are_not_asked_about(platform: Platform) -> None:
    await platform.create_host()
    web, other = await service(platform, "web"), await service(platform, "other")
    lb = await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    async with lb.connected():
        await stopped(platform, other)
        inactive = await service(platform, "off", state="inactive")
        await stopped(platform, inactive)
    assert lb.asked == []


async def test_a_balancer_that_is_not_connected_costs_no_time(platform: Platform) -> None:
    await platform.create_host()
    web = await service(platform, "web", launchConfig={"drainTimeoutMs": 10**6})
    await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    await stopped(platform, web)


async def test_a_balancer_that_never_answers_blocks_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drover.server.orchestration.instances.drain._MARGIN_SECONDS", 0.1)
    await platform.create_host()
    web = await service(platform, "web", launchConfig={"drainTimeoutMs": 50})
    lb = await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    lb.answers = False
    async with lb.connected():
        await stopped(platform, web)
    assert len(lb.asked) == 1


async def test_a_refusal_blocks_nothing(platform: Platform) -> None:
    await platform.create_host()
    web = await service(platform, "web")
    lb = await balancer(platform, {"sourcePort": 80, "serviceId": web.id, "targetPort": 80})
    lb.failure = "no such socket"
    async with lb.connected():
        await stopped(platform, web)
    assert len(lb.asked) == 1
