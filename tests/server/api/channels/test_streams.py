"""Streams through the proxy. The test plays the agent's side of the multiplex protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from drover.common.clock import now_ms
from drover.server.api.channels.tokens import StreamTokens
from drover.server.orchestration.host_api_keys import HostApiKeys, InvalidToken
from drover.server.store import Record
from tests.server.api.channels.conftest import Agent, Wire

pytestmark = pytest.mark.anyio


async def host_with_container(wire: Wire, agent: Agent) -> Record:
    """Rows of a connected host and a container that runs on it."""
    store = wire.assembly.context.store
    changes = store.changes()
    common = {"accountId": 5, "created": now_ms()}
    host = changes.insert(
        "host",
        {
            "kind": "docker",
            "uuid": "host-uuid",
            "reportedUuid": "host-uuid",
            "agentId": agent.id,
            "state": "active",
            "agentState": "active",
            **common,
        },
    )
    container = changes.insert(
        "instance",
        {
            "kind": "container",
            "name": "web-1",
            "uuid": "c-uuid",
            "externalId": "abc",
            "hostId": host.id,
            "state": "running",
            **common,
        },
    )
    await store.commit(changes)
    return container


@asynccontextmanager
async def tunnel(wire: Wire, agent: Agent) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"{wire.url}/v1/hostapiproxytokens"
    status, given = await wire.call("POST", url, {"reportedUuid": "host-uuid"}, **agent.headers)
    assert status == 201, given
    path = given["url"].removeprefix(wire.url.replace("http", "ws", 1))
    async with wire.socket(f"{path}?token={given['token']}") as socket:
        yield socket


async def access(wire: Wire, container: Record, action: str, **body: Any) -> tuple[str, str]:
    url = f"{wire.project}/containers/1i{container.id}/?action={action}"
    status, given = await wire.call("POST", url, body)
    assert status == 200, given
    return given["url"].removeprefix(wire.url.replace("http", "ws", 1)), given["token"]


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    while (message := await socket.receive(timeout=20)).type is aiohttp.WSMsgType.TEXT:
        continue
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
    return socket.close_code


async def test_frames_go_both_ways(wire: Wire) -> None:
    agent = await wire.register()
    container = await host_with_container(wire, agent)
    async with tunnel(wire, agent) as host:
        path, token = await access(wire, container, "execute", command=["sh"])
        async with wire.socket(f"{path}?token={token}") as client:
            key, kind, uri = str((await host.receive(timeout=20)).data).split("||", 2)
            assert (kind, uri) == ("0", f"{path}?token={token}")
            await client.send_str("aGk=")
            assert (await host.receive(timeout=20)).data == f"{key}||1||aGk="
            await host.send_str(f"{key}||1||b3V0||x")
            assert (await client.receive(timeout=20)).data == "b3V0||x"
            await host.send_str(f"{key}||2||")
            assert await closed_with(client) == 1000


async def test_a_client_that_leaves_closes_its_stream(wire: Wire) -> None:
    agent = await wire.register()
    container = await host_with_container(wire, agent)
    async with tunnel(wire, agent) as host:
        path, token = await access(wire, container, "logs")
        async with wire.socket(f"{path}?token={token}"):
            key = str((await host.receive(timeout=20)).data).partition("||")[0]
        assert str((await host.receive(timeout=20)).data).startswith(f"{key}||2||")


async def test_a_token_works_once_and_for_its_stream_only(wire: Wire) -> None:
    agent = await wire.register()
    container = await host_with_container(wire, agent)
    async with tunnel(wire, agent):
        path, token = await access(wire, container, "logs")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await wire.socket(f"/v2-beta/exec/?token={token}")
        path, token = await access(wire, container, "logs")
        async with wire.socket(f"{path}?token={token}"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await wire.socket(f"{path}?token={token}")


async def test_forged_tokens_are_refused(wire: Wire) -> None:
    for token in ("", "a.b.c", "x" * 5000):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await wire.socket(f"/v1/logs/?token={token}")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await wire.socket(f"/v1/connectbackend?token={token}")


async def test_an_agent_gets_no_tunnel_for_a_foreign_host(wire: Wire) -> None:
    owner, stranger = await wire.register(1), await wire.register(2)
    await host_with_container(wire, owner)
    url = f"{wire.url}/v1/hostapiproxytokens"
    status, body = await wire.call("POST", url, {"reportedUuid": "host-uuid"}, **stranger.headers)
    assert (status, body["code"], body["fieldName"]) == (422, "InvalidReference", "reportedUuid")


async def test_a_lost_host_ends_its_streams(wire: Wire) -> None:
    agent = await wire.register()
    container = await host_with_container(wire, agent)
    async with tunnel(wire, agent) as host:
        path, token = await access(wire, container, "logs")
        async with wire.socket(f"{path}?token={token}") as client:
            await host.receive(timeout=20)
            await host.close()
            assert await closed_with(client) == 1000


async def test_statistics_of_an_environment_are_gathered(wire: Wire) -> None:
    agent = await wire.register()
    await host_with_container(wire, agent)
    async with tunnel(wire, agent) as host:
        status, given = await wire.call("GET", f"{wire.url}/v2-beta/projects/1a5/hoststats")
        assert status == 200, given
        path = given["url"].removeprefix(wire.url.replace("http", "ws", 1))
        async with wire.socket(f"{path}?token={given['token']}") as client:
            key = str((await host.receive(timeout=20)).data).partition("||")[0]
            await host.send_str(f'{key}||1||[{{"id":"1h1"}}]')
            assert (await client.receive(timeout=20)).data == '[{"id":"1h1"}]'


def test_tokens_expire(tmp_path: Any) -> None:
    tokens = StreamTokens(HostApiKeys.open(tmp_path))
    with pytest.raises(InvalidToken):
        tokens.redeem(tokens.issue({"hostUuid": "h"}, seconds=-3600))
    good = tokens.issue({"hostUuid": "h"})
    assert tokens.redeem(good)["hostUuid"] == "h"
    with pytest.raises(InvalidToken, match="used already"):
        tokens.redeem(good)


async def test_a_host_that_is_away_is_said_so(wire: Wire) -> None:
    agent = await wire.register()
    container = await host_with_container(wire, agent)
    path, token = await access(wire, container, "logs")
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await wire.socket(f"{path}?token={token}")
