import asyncio
from contextlib import aclosing

import pytest

from drover.client.api import ApiClient
from drover.client.errors import AuthenticationFailed, ClientError, ConnectionFailed
from drover.client.subscribe import Notice, Resync, Subscription
from drover.common.backoff import Backoff
from tests.wire import WireServer

pytestmark = pytest.mark.anyio


def quick(client: ApiClient) -> Subscription:
    backoff = Backoff(initial=0.001, maximum=0.001, floor=0.001)
    return Subscription(client.transport, client._subscribe_url, ["resource.change"], backoff=backoff)


async def test_events_carry_the_resource_and_pings_are_hidden(server: WireServer, client: ApiClient) -> None:
    service = server.add("service", name="web", state="activating")
    async with asyncio.timeout(60), aclosing(client.subscribe().events()) as events:
        assert await anext(events) == Resync(0)
        await server.change(service["id"], state="active")
        notice = await anext(events)
    assert isinstance(notice, Notice)
    assert (notice.name, notice.resource_id, notice.resource_type) == ("resource.change", service["id"], "service")
    assert notice.resource is not None
    assert notice.resource.state == "active"
    assert server.requests == ["GET /v2-beta/projects/1a5/subscribe?eventNames=resource.change"]


async def test_a_lost_connection_is_a_resync(server: WireServer, client: ApiClient) -> None:
    async with asyncio.timeout(60), aclosing(quick(client).events()) as events:
        await anext(events)
        for socket in list(server.sockets):
            await socket.close()
        assert await anext(events) == Resync(1)
    assert server.subscriptions == 2


async def test_without_reconnection_the_loss_is_an_error(server: WireServer, client: ApiClient) -> None:
    async with asyncio.timeout(60), aclosing(client.subscribe().once().events()) as events:
        await anext(events)
        for socket in list(server.sockets):
            await socket.close()
        with pytest.raises(ConnectionFailed, match="closed the event connection"):
            await anext(events)


async def test_logout_ends_the_subscription(server: WireServer, client: ApiClient) -> None:
    async with asyncio.timeout(60), aclosing(quick(client).events()) as events:
        await anext(events)
        for socket in list(server.sockets):
            await socket.send_str('{"name":"logout"}')
        with pytest.raises(AuthenticationFailed, match="ended this session"):
            await anext(events)


async def test_a_silent_connection_is_given_up(
    server: WireServer, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drover.client.subscribe.SILENCE_SECONDS", 0.05)
    async with asyncio.timeout(60), aclosing(quick(client).events()) as events:
        assert await anext(events) == Resync(0)
        assert await anext(events) == Resync(1)


async def test_a_message_that_is_no_event_reconnects(server: WireServer, client: ApiClient) -> None:
    async with asyncio.timeout(60), aclosing(quick(client).events()) as events:
        await anext(events)
        for socket in list(server.sockets):
            await socket.send_str("not json")
        assert await anext(events) == Resync(1)


async def test_event_names_are_required(client: ApiClient) -> None:
    with pytest.raises(ClientError, match="at least one event name"):
        client.subscribe([])
