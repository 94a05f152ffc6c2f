from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from drover.server.bus import Event
from tests.server.api.channels.conftest import Wire, frame, frames

pytestmark = pytest.mark.anyio

CHANGES = "/v2-beta/projects/1a5/subscribe?eventNames=resource.change"
CHANNEL = {"X-Drover-Channel": "1"}


async def refused(wire: Wire, path: str, **headers: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with wire.socket(path, headers=headers):
            pass
    return int(refusal.value.status)


def is_change(frame: dict[str, Any]) -> bool:
    return frame["name"] == "resource.change"


async def test_what_cannot_be_subscribed_is_refused(wire: Wire) -> None:
    assert await refused(wire, "/v2-beta/projects/1a5/subscribe") == 400
    assert await refused(wire, "/v2-beta/projects/1a5/subscribe?eventNames=a%20b") == 400
    assert await refused(wire, CHANGES, Origin="http://evil.example") == 403
    assert await refused(wire, CHANGES, **{"X-ENFORCE-AUTHENTICATION": "true"}) == 401
    assert await refused(wire, "/v2-beta/projects/1a9/subscribe?eventNames=resource.change") == 403


async def test_every_subscriber_is_pinged_at_once(wire: Wire) -> None:
    async with wire.socket(CHANGES) as socket:
        first = await frame(socket)
    assert (first["name"], first["resourceId"], first["data"]) == ("ping", None, {"options": {}, "resources": []})


async def test_changes_arrive_up_to_the_final_state(wire: Wire) -> None:
    async with wire.socket(CHANGES) as socket:
        stack = await wire.create("stacks", name="shop")
        active = await frame(socket, lambda f: is_change(f) and f["data"]["resource"]["state"] == "active")
        assert (active["resourceId"], active["resourceType"]) == (stack["id"], "stack")
        assert active["data"]["resource"]["links"]["self"] == stack["links"]["self"]
        await wire.call("DELETE", stack["links"]["self"])
        await frame(socket, lambda f: is_change(f) and f["data"]["resource"]["state"] == "removed")


async def test_action_links_are_moved_when_asked_for(wire: Wire) -> None:
    async with wire.socket(f"{CHANGES}&_actionLinks=true") as socket:
        await wire.create("stacks", name="shop")
        change = await frame(socket, is_change)
    assert "actions" not in change["data"]["resource"]
    assert isinstance(change["data"]["actionLinks"], dict)


async def test_other_environments_are_silent(wire: Wire) -> None:
    _, other = await wire.call("POST", f"{wire.url}/v2-beta/projects", {"name": "other"})
    while other["state"] != "active":
        _, other = await wire.call("GET", other["links"]["self"])
    path = f"/v2-beta/projects/{other['id']}/subscribe?eventNames=resource.change"
    async with wire.socket(path) as socket:
        await wire.create("stacks", name="mine")
        await wire.call("POST", f"{wire.url}/v2-beta/projects/{other['id']}/stacks", {"name": "theirs"})
        # Events come in the order of the changes, so the other one would have come first.
        heard = await frame(socket, lambda f: is_change(f) and f["resourceType"] == "stack")
        assert heard["data"]["resource"]["name"] == "theirs"


async def test_an_agent_answers_on_its_socket(wire: Wire) -> None:
    agent = await wire.register()
    async with wire.socket("/v1/subscribe?eventNames=test.question", headers={**agent.headers, **CHANNEL}) as socket:
        assert socket._response.headers["X-Drover-Channel"] == "1"
        question = Event(name=f"test.question;agent={agent.id}", resource_type="instanceHostMap", resource_id="7")
        asking = asyncio.create_task(wire.assembly.context.bus.request(question, timeout=20, asked=f"agent:{agent.id}"))
        heard = await frame(socket, lambda f: f["name"] == "test.question")
        assert "previousIds" not in heard
        reply = {"name": heard["replyTo"], "previousIds": [heard["id"]], "data": {"instanceHostMap": {"a": 1}}}
        await socket.send_json({"publish": reply})
        assert (await asking).data == {"instanceHostMap": {"a": 1}}


async def test_a_question_waits_for_an_agent_that_comes_late(wire: Wire) -> None:
    agent = await wire.register()
    question = Event(name=f"test.question;agent={agent.id}")
    asking = asyncio.create_task(wire.assembly.context.bus.request(question, timeout=20, asked=f"agent:{agent.id}"))
    await asyncio.sleep(0.1)
    async with wire.socket("/v1/subscribe?eventNames=test.question", headers={**agent.headers, **CHANNEL}) as socket:
        heard = await frame(socket, lambda f: f["name"] == "test.question")
        status, _ = await wire.call(
            "POST", f"{wire.url}/v1/publish", {"name": heard["replyTo"], "previousIds": [heard["id"]]}, **agent.headers
        )
        assert status == 201
        await asking


async def test_nobody_answers_for_another_agent(wire: Wire) -> None:
    asked, stranger = await wire.register(1), await wire.register(2)
    question = Event(name=f"test.question;agent={asked.id}")
    asking = asyncio.create_task(wire.assembly.context.bus.request(question, timeout=20, asked=f"agent:{asked.id}"))
    await asyncio.sleep(0.05)
    reply = {"name": question.reply_to, "previousIds": [question.id], "data": {}}
    status, body = await wire.call("POST", f"{wire.url}/v1/publish", reply, **stranger.headers)
    assert (status, body["code"]) == (409, "Conflict")
    assert not asking.done()
    status, _ = await wire.call("POST", f"{wire.url}/v1/publish", reply, **asked.headers)
    assert status == 201
    await asking


async def test_agents_publish_replies_and_service_events_only(wire: Wire) -> None:
    agent = await wire.register()
    publish = f"{wire.url}/v1/publish"
    status, _ = await wire.call("POST", publish, {"name": "resource.change"}, **agent.headers)
    assert status == 403
    async with wire.socket("/v2-beta/projects/1a5/subscribe?eventNames=service.kubernetes.change") as socket:
        await frame(socket)
        event = {"name": "service.kubernetes.change", "data": {"pods": 3}}
        status, _ = await wire.call("POST", publish, event, **agent.headers)
        assert status == 201
        heard = await frame(socket, lambda f: f["name"] == "service.kubernetes.change")
    assert heard["data"] == {"pods": 3}


async def test_an_agent_has_one_channel(wire: Wire) -> None:
    agent = await wire.register()
    headers = {**agent.headers, **CHANNEL}
    async with wire.socket("/v1/subscribe?eventNames=ping", headers=headers) as first:
        await frame(first)
        async with wire.socket("/v1/subscribe?eventNames=ping", headers=headers) as second:
            await frame(second)
            assert [each async for each in frames(first) if each["name"] != "ping"] == []
            assert first.closed
            assert not second.closed


async def test_a_removed_key_closes_its_sockets(wire: Wire) -> None:
    key = await wire.create("apikeys")
    headers = {"Authorization": aiohttp.encode_basic_auth(key["publicValue"], key["secretValue"])}
    async with asyncio.timeout(60):
        while key["state"] != "active":
            _, key = await wire.call("GET", key["links"]["self"])
    async with wire.socket(CHANGES, headers=headers) as socket:
        await frame(socket)
        await wire.call("POST", key["actions"]["deactivate"])
        async with asyncio.timeout(60):
            async for _ in frames(socket):
                continue
        assert socket.closed
