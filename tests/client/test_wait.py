import asyncio

import pytest

from drover.client.api import ApiClient
from drover.client.errors import NotFound, TransitionFailed, WaitTimeout
from drover.client.resource import Resource
from drover.client.wait import in_state, removed, settled
from tests.wire import WireServer

pytestmark = pytest.mark.anyio


async def until_subscribed(server: WireServer) -> None:
    async with asyncio.timeout(60):
        while not server.sockets:
            await asyncio.sleep(0)


async def test_a_settled_resource_needs_no_request(server: WireServer, client: ApiClient) -> None:
    service = Resource(server.add("service", name="web"))
    assert await client.wait(service) is service
    assert server.requests == []


async def test_an_event_ends_the_wait(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", state="activating", transitioning="yes")
    seen: list[str] = []
    waiting = asyncio.create_task(
        client.wait(Resource(raw), timeout=5, on_change=lambda resource: seen.append(resource.state))
    )
    await until_subscribed(server)
    await server.change(raw["id"], state="active", transitioning="no")
    assert (await waiting).state == "active"
    assert seen[-1] == "active"


async def test_an_event_older_than_the_action_does_not_end_the_wait(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", state="activating", transitioning="yes")
    waiting = asyncio.create_task(client.wait(Resource(raw), timeout=5))
    await until_subscribed(server)
    await server.publish({**raw, "state": "inactive", "transitioning": "no"})
    await server.change(raw["id"], state="active", transitioning="no")
    assert (await waiting).state == "active"


async def test_without_websocket_the_wait_polls(
    server: WireServer, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drover.client.wait.POLL_SECONDS", 0.01)
    server.refuse_websockets = 502
    raw = server.add("service", name="web", state="activating", transitioning="yes")
    waiting = asyncio.create_task(client.wait(Resource(raw), timeout=5))
    while not any("services" in request for request in server.requests):
        await asyncio.sleep(0)
    raw.update(state="active", transitioning="no")
    assert (await waiting).state == "active"


async def test_a_failure_of_the_server_ends_the_wait(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", state="activating", transitioning="yes")
    waiting = asyncio.create_task(client.wait(Resource(raw), in_state("active"), timeout=5))
    await until_subscribed(server)
    await server.change(raw["id"], transitioning="error", transitioningMessage="no host has room")
    with pytest.raises(TransitionFailed, match="no host has room"):
        await waiting


async def test_time_runs_out(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", state="activating", transitioning="yes", transitioningMessage="pulling")
    with pytest.raises(WaitTimeout, match=r"still 'pulling' after 0.05 seconds") as caught:
        await client.wait(Resource(raw), timeout=0.05)
    assert caught.value.resource.state == "activating"


async def test_health_counts_as_a_state(server: WireServer, client: ApiClient) -> None:
    raw = server.add("service", name="web", state="active", healthState="initializing")
    waiting = asyncio.create_task(client.wait(Resource(raw), in_state("healthy"), timeout=5))
    await until_subscribed(server)
    await server.change(raw["id"], healthState="healthy")
    assert (await waiting).health_state == "healthy"


async def test_waiting_for_removal(server: WireServer, client: ApiClient) -> None:
    stack = Resource(server.add("stack", name="shop"))
    gone = await client.delete(stack)
    assert gone is not None
    assert (await client.wait(gone, removed, timeout=5)).gone


async def test_a_purged_resource_counts_as_removed(server: WireServer, client: ApiClient) -> None:
    stack = Resource({**server.add("stack", name="shop"), "state": "removing", "transitioning": "yes"})
    del server.resources[stack.id]
    assert (await client.wait(stack, removed, timeout=5)).gone


async def test_removal_disappoints_every_other_goal(server: WireServer, client: ApiClient) -> None:
    stack = Resource({**server.add("stack", name="shop"), "state": "activating", "transitioning": "yes"})
    del server.resources[stack.id]
    with pytest.raises(NotFound, match="was removed while waiting"):
        await client.wait(stack, in_state("active"), timeout=5)


async def test_many_waits_share_one_subscription(server: WireServer, client: ApiClient) -> None:
    raws = [server.add("service", name=f"s{n}", state="activating", transitioning="yes") for n in range(20)]
    async with client.watch() as watcher:
        waits = [asyncio.create_task(watcher.until(Resource(raw), settled, timeout=60)) for raw in raws]
        await until_subscribed(server)
        for raw in raws:
            await server.change(raw["id"], state="active", transitioning="no")
        done = await asyncio.gather(*waits)
    assert {resource.state for resource in done} == {"active"}
    assert server.subscriptions == 1
