"""A metadata container of Rancher 1.6 against a whole server: subscribe, download, acknowledge, reply."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from drover.server.api.channels.metadata_answers import ITEM
from drover.server.snapshot.answers import SOURCE_REVISION, compress_generic
from drover.server.store import Record
from tests.server.api.channels.conftest import Agent, Wire, frame
from tests.server.api.channels.world_rows import METADATA, agent_of, change, container_on, host_of, plant

pytestmark = pytest.mark.anyio

_WAIT = 60.0


async def metadata_container(wire: Wire, uuid: str = "m-1", **values: Any) -> tuple[Record, Agent]:
    """A metadata container on a host of its own, and its keys."""
    host = await host_of(wire, await wire.register(int(uuid[-1])), f"host-{uuid}")
    given = {"labels": METADATA, "system": True, "state": "running", **values}
    container = await container_on(wire, host, uuid, **given)
    return container, await agent_of(wire, container, system=bool(given["system"]))


def item_url(wire: Wire, query: str, version: str = "v2-beta") -> str:
    return f"{wire.url}/{version}/configcontent/{ITEM}?{query}"


async def download(wire: Wire, agent: Agent, query: str = "client=v2&requestedVersion=") -> tuple[int, list[Any]]:
    """Status and objects."""
    async with wire.session.get(item_url(wire, query), headers=agent.headers) as response:
        body = await response.read()
        if response.status != 200:
            return response.status, []
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert "Content-Encoding" not in response.headers  # it is compressed already
    stream = zlib.decompressobj(-15)
    rest, decoder, found = stream.decompress(body).decode(), json.JSONDecoder(), []
    assert stream.eof
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:]
    return response.status, found


def version_of(objects: list[Any]) -> str:
    return str(next(each["version"] for each in objects if each["metadata_kind"] == "defaultData"))


async def acknowledge(wire: Wire, agent: Agent, requested: int, version: str) -> int:
    """As the original's client does it, with a second question mark in the middle of the query."""
    url = item_url(wire, f"client=v2&requestedVersion={requested}?client=v2&version={version}")
    async with wire.session.put(url, headers=agent.headers) as response:
        return response.status


@asynccontextmanager
async def subscribed(wire: Wire, agent: Agent) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    names = "eventNames=config.update&eventNames=ping"
    async with wire.socket(f"/v2-beta/subscribe?{names}", headers=agent.headers) as socket:
        await frame(socket)
        yield socket


async def update(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    return await frame(socket, lambda each: each["name"] == "config.update")


async def reply(wire: Wire, agent: Agent, event: dict[str, Any]) -> None:
    body = {"name": event["replyTo"], "previousIds": [event["id"]]}
    status, _ = await wire.call("POST", f"{wire.url}/v2-beta/publish", body, **agent.headers)
    assert status == 201


def requested(event: dict[str, Any]) -> int:
    (item,) = event["data"]["items"]
    assert item["name"] == ITEM
    return int(item["requestedVersion"])


async def quiet(socket: aiohttp.ClientWebSocketResponse, seconds: float) -> bool:
    """Whether no update is asked for within this time."""
    try:
        async with asyncio.timeout(seconds):
            await update(socket)
    except TimeoutError:
        return True
    return False


async def setting(wire: Wire, name: str, value: str) -> None:
    status, _ = await wire.call("PUT", f"{wire.url}/v2-beta/settings/{name}", {"value": value})
    assert status == 200


async def test_the_whole_environment_is_downloaded(wire: Wire) -> None:
    container, agent = await metadata_container(wire)
    status, objects = await download(wire, agent)
    assert status == 200
    kinds = [each["metadata_kind"] for each in objects]
    assert (kinds[-2:], kinds.count("container")) == (["environment", "defaultData"], 1)
    assert objects[-1]["self"]["host"]["uuid"] == "host-m-1"
    assert next(each for each in objects if each["metadata_kind"] == "container")["uuid"] == container.uuid
    revision, _, source = version_of(objects).partition("-")
    assert revision.isdigit()
    assert source == SOURCE_REVISION


async def test_both_roots_serve_it(wire: Wire) -> None:
    _, agent = await metadata_container(wire)
    async with wire.session.get(item_url(wire, "client=v2", "v1"), headers=agent.headers) as response:
        assert response.status == 200


async def test_a_change_is_told_downloaded_and_acknowledged(wire: Wire) -> None:
    container, agent = await metadata_container(wire)
    async with subscribed(wire, agent) as socket:
        _, objects = await download(wire, agent)
        first = version_of(objects)
        assert await acknowledge(wire, agent, 0, first) == 200
        await change(wire, container, startCount=7)
        event = await update(socket)
        assert requested(event) > int(first.partition("-")[0])
        _, objects = await download(wire, agent, f"client=v2&requestedVersion={requested(event)}")
        assert next(each for each in objects if each["metadata_kind"] == "container")["start_count"] == 7
        assert int(version_of(objects).partition("-")[0]) >= requested(event)
        assert await acknowledge(wire, agent, requested(event), version_of(objects)) == 200
        await reply(wire, agent, event)
        assert await quiet(socket, 0.5)


async def test_one_update_is_under_way_and_the_next_ones_are_merged(wire: Wire) -> None:
    container, agent = await metadata_container(wire)
    async with subscribed(wire, agent) as socket:
        await change(wire, container, startCount=1)
        event = await update(socket)
        for number in range(2, 6):
            await change(wire, container, startCount=number)
            await asyncio.sleep(0.12)
        assert await quiet(socket, 0.3)
        await reply(wire, agent, event)
        last = await update(socket)
        assert requested(last) > requested(event)
        await acknowledge(wire, agent, requested(last), f"{requested(last)}-{SOURCE_REVISION}")
        await reply(wire, agent, last)
        assert await quiet(socket, 0.5)


async def test_what_is_not_answered_is_asked_again_and_what_is_not_confirmed_is_repeated(wire: Wire) -> None:
    await setting(wire, "item.wait.for.event.timeout.millis", "200")
    await setting(wire, "task.config.item.sync.schedule", "0.3")
    container, agent = await metadata_container(wire)
    async with subscribed(wire, agent) as socket:
        await change(wire, container, startCount=1)
        tries = [await update(socket) for _ in range(3)]
        assert len({requested(each) for each in tries}) == 1
        again = await update(socket)  # the round after the tries
        await reply(wire, agent, again)
        repeated = await update(socket)  # it was answered, and nothing was confirmed
        assert requested(repeated) == requested(again)
        other_program = f"{requested(repeated)}-0123abcd"
        assert await acknowledge(wire, agent, 1, other_program) == 200
        await reply(wire, agent, repeated)
        assert requested(await update(socket)) == requested(again)  # an older program's answer does not count


@pytest.mark.parametrize("version", ["latest", None])
async def test_the_present_revision_is_confirmed(wire: Wire, version: str | None) -> None:
    await setting(wire, "task.config.item.sync.schedule", "0.2")
    container, agent = await metadata_container(wire)
    async with subscribed(wire, agent) as socket:
        await change(wire, container, startCount=1)
        event = await update(socket)
        text = version or f"{requested(event)}-{SOURCE_REVISION}"
        assert await acknowledge(wire, agent, requested(event), text) == 200
        await reply(wire, agent, event)
        assert await quiet(socket, 0.8)


async def test_a_client_of_another_kind_gets_nothing(wire: Wire) -> None:
    await setting(wire, "task.config.item.sync.schedule", "0.2")
    _, agent = await metadata_container(wire)
    async with subscribed(wire, agent) as socket:
        assert (await download(wire, agent, "requestedVersion=1"))[0] == 404
        assert await quiet(socket, 0.8)


@pytest.mark.parametrize("values", [{"labels": {}}, {"system": False}, {"state": "stopped"}])
async def test_it_is_for_metadata_containers_alone(wire: Wire, values: dict[str, Any]) -> None:
    _, agent = await metadata_container(wire, **values)
    assert (await download(wire, agent))[0] == 404
    assert await acknowledge(wire, agent, 1, "latest") == 404


async def test_strangers_stay_outside(wire: Wire) -> None:
    host_agent = await wire.register()
    await host_of(wire, host_agent)
    assert (await download(wire, host_agent))[0] == 404
    assert (await download(wire, Agent(0, await wire.project_key())))[0] == 403
    assert (await download(wire, Agent(0, {"X-ENFORCE-AUTHENTICATION": "true"})))[0] == 401


async def test_all_hosts_share_the_common_part(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def compress(text: bytes) -> bytes:
        made.append(text)
        return compress_generic(text)

    monkeypatch.setattr("drover.server.api.channels.metadata_answers.compress_generic", compress)
    agents = [(await metadata_container(wire, f"m-{number}"))[1] for number in range(1, 4)]
    bodies = [(await download(wire, agent))[1] for agent in agents]
    assert len(made) == 1
    assert {each[-1]["self"]["host"]["uuid"] for each in bodies} == {"host-m-1", "host-m-2", "host-m-3"}
    await plant(wire, "stack", uuid="new", name="new")
    known = int(version_of(bodies[0]).partition("-")[0])
    await asyncio.sleep(0.3)
    await download(wire, agents[0], f"client=v2&requestedVersion={known}")
    assert len(made) == 1  # what is kept is new enough for this question
    await download(wire, agents[0])
    assert len(made) == 2
