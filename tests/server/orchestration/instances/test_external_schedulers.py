"""A scheduler in the environment is asked, obeyed, told, and not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from drover.client.scheduling import EVENTS, PRIORITIZE, RELEASE, RESERVE, SCHEDULING_LABEL
from drover.server.bus import Event
from drover.server.orchestration.instances import external_schedulers
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

GIB = 1024**3


@dataclass
class Scheduler:
    """A scheduler's container and its agent, as far as the server sees them."""

    platform: Platform
    agent: Record
    container: Record
    hosts: list[str] | None = None
    refuses: dict[str, str] = field(default_factory=dict)
    reservation: list[dict[str, Any]] = field(default_factory=list)
    silent: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        bus = self.platform.context.bus
        subscription = bus.subscribe([f"{name};agent={self.agent.id}" for name in EVENTS])
        task = asyncio.create_task(self._answer(subscription))
        try:
            yield
        finally:
            task.cancel()
            subscription.close()

    async def _answer(self, subscription: Any) -> None:
        async for event in subscription:
            name = event.name.partition(";")[0]
            self.asked.append((name, event.data["schedulerRequest"]))
            if self.silent:
                continue
            reply = Event(name=event.reply_to, previous_ids=[event.id], resource_type="schedulerRequest", data={})
            if name in self.refuses:
                reply.transitioning, reply.transitioning_message = "error", self.refuses[name]
            elif name == PRIORITIZE and self.hosts is not None:
                reply.data = {"prioritizedCandidates": self.hosts}
            elif name == RESERVE and self.reservation:
                reply.data = {"portReservation": self.reservation}
            self.platform.context.bus.reply(reply, sender=f"agent:{self.agent.id}")

    def requests(self, name: str) -> list[dict[str, Any]]:
        return [request for asked, request in self.asked if asked == name]


async def scheduler(platform: Platform, order: str = "true", **values: Any) -> Scheduler:
    agent = await platform.create_agent()
    await platform.until("agent", agent.id, "active")
    container = await platform.start(labels={SCHEDULING_LABEL: order})
    changes = platform.store.changes()
    container = changes.update(container, {"agentId": agent.id, **values})
    await platform.store.commit(changes)
    return Scheduler(platform, agent, container)


async def failure(platform: Platform, **values: Any) -> str:
    container = await platform.until("instance", (await platform.plan(**values)).id, "error")
    return str(container["transitioningMessage"])


async def test_its_order_decides(platform: Platform) -> None:
    hosts = [await platform.create_host() for _ in range(3)]
    asked = await scheduler(platform)
    asked.hosts = [hosts[2].uuid, hosts[0].uuid]
    async with asked.connected():
        for _ in range(3):
            assert (await platform.start())["hostId"] == hosts[2].id


async def test_what_it_is_asked(platform: Platform) -> None:
    host = await platform.create_host(memory=8 * GIB, milliCpu=4000)
    asked = await scheduler(platform)
    asked.hosts = [host.uuid]
    async with asked.connected():
        container = await platform.start(
            memoryReservation=GIB, milliCpuReservation=500, ports=["8080:80/tcp"], labels={"a": "b"}
        )
    (request,) = asked.requests(PRIORITIZE)
    assert request["phase"] == "instance.allocate"
    (ports,) = [each for each in request["resourceRequests"] if each["type"] == "portPool"]
    assert [each for each in request["resourceRequests"] if each["type"] == "computePool"] == [
        {"resource": "memoryReservation", "type": "computePool", "amount": GIB},
        {"resource": "cpuReservation", "type": "computePool", "amount": 500},
        {"resource": "instanceReservation", "type": "computePool", "amount": 1},
    ]
    assert (ports["resource"], ports["instanceId"]) == ("portReservation", str(container.id))
    assert ports["resourceUuid"] == container.uuid
    assert list(ports["portRequests"]) == [
        {"privatePort": 80, "publicPort": 8080, "ipAddress": "0.0.0.0", "protocol": "tcp"}
    ]
    (subject,) = request["context"]
    assert (subject["id"], subject["uuid"]) == (container.id, container.uuid)
    assert subject["data"]["fields"]["labels"]["a"] == "b"
    (reserved,) = asked.requests(RESERVE)
    assert (reserved["hostID"], reserved["phase"]) == (host.uuid, "instance.allocate")
    assert not reserved.get("force")


async def test_the_ports_that_it_gives_are_taken(platform: Platform) -> None:
    host = await platform.create_host()
    asked = await scheduler(platform)
    asked.hosts = [host.uuid]
    async with asked.connected():
        planned = await platform.plan(ports=["8080:80/tcp"])
        given = {"allocatedIP": "10.0.0.4", "publicPort": 8080, "privatePort": 80, "protocol": "tcp"}
        asked.reservation = [{"instanceID": str(planned.id), "allocatedIPs": [given]}]
        container = await platform.until("instance", planned.id, "running")
    assert container["publishedPorts"] == ["10.0.0.4:8080:80/tcp"]


async def test_a_refusal_is_shown_and_leaves_nothing_behind(platform: Platform) -> None:
    host = await platform.create_host()
    asked = await scheduler(platform)
    asked.hosts = [host.uuid]
    async with asked.connected():
        asked.refuses = {RESERVE: "no address left"}
        text = await failure(platform)
        assert "Allocation failed: Error reserving resources: [no address left]" in text
        asked.refuses = {PRIORITIZE: "no idea"}
        assert "Error getting hosts for resources: [no idea]" in await failure(platform)
        assert platform.hosting.usage.on_host(host.id) == [asked.container.id]


async def test_no_host_offered_is_explained(platform: Platform) -> None:
    await platform.create_host()
    asked = await scheduler(platform)
    asked.hosts = []
    async with asked.connected():
        text = await failure(platform)
    assert "scheduler service offers 0 of 2 hosts" in text


async def test_several_must_agree_in_the_order_of_the_first(platform: Platform) -> None:
    hosts = [await platform.create_host() for _ in range(3)]
    second, first = await scheduler(platform, "20"), await scheduler(platform, "3")
    first.hosts = [hosts[2].uuid, hosts[1].uuid, hosts[0].uuid]
    second.hosts = [hosts[0].uuid, hosts[1].uuid]
    async with first.connected(), second.connected():
        assert (await platform.start())["hostId"] == hosts[1].id


async def test_who_is_not_there_is_not_waited_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_schedulers, "ANSWER_SECONDS", 1000.0)
    await platform.create_host()
    await scheduler(platform)
    await platform.start()


async def test_who_does_not_answer_is_left_alone(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_schedulers, "ANSWER_SECONDS", 0.05)
    await platform.create_host()
    asked = await scheduler(platform)
    asked.silent = True
    async with asked.connected():
        for _ in range(3):
            await platform.start()
    assert len(asked.asked) == 1, "asked once; the server places by itself for a while"


@pytest.mark.parametrize("values", [{"healthState": "unhealthy"}, {"labels": {}}, {"agentId": None}])
async def test_who_is_not_asked(platform: Platform, values: dict[str, Any]) -> None:
    await platform.create_host()
    asked = await scheduler(platform, **values)
    async with asked.connected():
        await platform.start()
    assert asked.asked == []


async def test_it_is_told_of_starts_stops_and_removals(platform: Platform) -> None:
    host = await platform.create_host()
    asked = await scheduler(platform)
    asked.hosts = [host.uuid]
    async with asked.connected():
        container = await platform.start(ports=["8080:80/tcp"])
        await platform.schedule("instance.stop", container, timeout=0)
        await platform.until("instance", container.id, "stopped")
        await platform.schedule("instance.start", container)
        await platform.until("instance", container.id, "running")
        await platform.schedule("instance.stop", container, timeout=0, remove=True)
        await platform.eventually(lambda: len(asked.requests(RELEASE)) >= 2)
        await platform.eventually(lambda: asked.requests(RELEASE)[-1]["phase"] == "instance.deallocate")
    assert [each["phase"] for each in asked.requests(RESERVE)] == ["instance.allocate", "instance.start"]
    released = asked.requests(RELEASE)
    assert released[0]["phase"] == "instance.stop"
    assert released[0]["resourceRequests"][0]["resourceUuid"] == container.uuid
    assert {each["hostID"] for each in released} == {host.uuid}


async def test_a_requested_host_is_forced(platform: Platform) -> None:
    hosts = [await platform.create_host() for _ in range(2)]
    asked = await scheduler(platform)
    asked.hosts = [hosts[0].uuid]
    async with asked.connected():
        assert (await platform.start(requestedHostId=hosts[1].id))["hostId"] == hosts[1].id
    assert asked.requests(PRIORITIZE) == []
    assert asked.requests(RESERVE)[0]["force"] is True


async def test_its_own_place_needs_nobody(platform: Platform) -> None:
    await platform.create_host()
    asked = await scheduler(platform)
    async with asked.connected():
        await platform.schedule("instance.restart", asked.container)
        await platform.until("instance", asked.container.id, "running")
    assert asked.asked == []
