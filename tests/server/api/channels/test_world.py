"""The world's WebSocket, against a whole server: who gets in, what arrives, and going on after a break."""

from __future__ import annotations

import asyncio
import base64
import zlib
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest

from drover.client.world import Change, Container, Full, Key, Stack, World, decode_frame
from drover.client.world.frames import Frame
from drover.client.world.upstream import Upstream
from drover.common.clock import now_ms
from tests.server.api.channels.conftest import Wire, frame
from tests.server.api.channels.world_rows import ENVIRONMENT, METADATA, agent_of, change, container_on, host_of, plant

pytestmark = pytest.mark.anyio

_WAIT = 60.0


async def refused(wire: Wire, headers: dict[str, str], query: str = "") -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with wire.socket(f"/v2-beta/world{query}", headers=headers):
            pass
    return int(refusal.value.status)


async def next_frame(socket: aiohttp.ClientWebSocketResponse) -> Frame:
    return decode_frame(await socket.receive_str(timeout=_WAIT))


async def until(socket: aiohttp.ClientWebSocketResponse, world: World, uuid: str) -> Container:
    """Apply frames until a container is there."""
    async with asyncio.timeout(_WAIT):
        while uuid not in world.containers:
            world.apply(await next_frame(socket))
    return world.containers[uuid]


# Who gets in


async def test_a_hosts_agent_follows_its_environment_in_both_versions(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    for version in ("v1", "v2-beta"):
        async with wire.socket(f"/{version}/world", headers=agent.headers) as socket:
            first = await next_frame(socket)
        assert isinstance(first, Full)
        assert first.host == "host-1"


async def test_a_metadata_container_follows_the_environment_of_its_host(wire: Wire) -> None:
    host = await host_of(wire, await wire.register())
    container = await container_on(wire, host, labels=METADATA, system=True, state="running")
    agent = await agent_of(wire, container)
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        first = await next_frame(socket)
    assert isinstance(first, Full)
    assert first.host == host.uuid


async def test_strangers_and_people_stay_outside(wire: Wire) -> None:
    assert await refused(wire, {"X-ENFORCE-AUTHENTICATION": "true"}) == 401
    assert await refused(wire, {}) == 403  # the administrator
    assert await refused(wire, await wire.project_key()) == 403
    agent = await wire.register()
    assert await refused(wire, agent.headers) == 403  # no host yet
    await host_of(wire, agent)
    assert await refused(wire, {**agent.headers, "Origin": "http://evil.example"}) == 403
    assert await refused(wire, agent.headers, "?epoch=a&revision=x") == 400
    assert await refused(wire, agent.headers, "?encoding=br") == 400


@pytest.mark.parametrize(
    "values",
    [
        {"labels": {}, "system": True, "state": "running"},
        {"labels": METADATA, "system": False, "state": "running"},
        {"labels": METADATA, "system": True, "state": "stopped"},
    ],
    ids=["label missing", "no system container", "stopped"],
)
async def test_other_containers_stay_outside(wire: Wire, values: dict[str, Any]) -> None:
    host = await host_of(wire, await wire.register())
    container = await container_on(wire, host, **values)
    agent = await agent_of(wire, container, system=bool(values["system"]))
    assert await refused(wire, agent.headers) == 403


async def test_a_follower_sees_its_own_environment_only(wire: Wire) -> None:
    agent = await wire.register()
    host = await host_of(wire, agent)
    await container_on(wire, host)
    await plant(wire, "host", uuid="elsewhere", kind="docker", accountId=7, agentIpAddress="172.16.0.9")
    await plant(wire, "stack", uuid="their-stack", name="theirs", accountId=7)
    world = World()
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world.apply(await next_frame(socket))
        await plant(wire, "stack", uuid="their-other-stack", name="theirs", accountId=7)
        await plant(wire, "stack", uuid="my-stack", name="mine")
        while not world.stacks:
            world.apply(await next_frame(socket))
    assert list(world.hosts) == ["host-1"]
    assert list(world.stacks) == ["my-stack"]
    assert list(world.containers) == ["c-1"]


async def test_a_key_that_is_taken_away_ends_the_stream(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    row = await wire.assembly.context.store.get("agent", agent.id)
    assert row is not None
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        await next_frame(socket)
        key = await wire.assembly.context.store.first("credential", accountId=row.account_id, removed=None)
        assert key is not None
        await change(wire, key, state="removed", removed=now_ms())
        message = await socket.receive(timeout=_WAIT)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    assert await refused(wire, agent.headers) in (401, 403)


async def test_an_agent_holds_few_streams(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    opened = []
    for _ in range(5):
        socket = await wire.socket("/v1/world", headers=agent.headers)
        assert isinstance(await next_frame(socket), Full)
        opened.append(socket)
    for first in opened[:2]:
        await first.receive(timeout=_WAIT)
        assert first.closed
    assert not opened[-1].closed
    for socket in opened:
        await socket.close()


# What arrives


async def test_a_change_arrives_as_a_change(wire: Wire) -> None:
    agent = await wire.register()
    host = await host_of(wire, agent)
    world = World()
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world.apply(await next_frame(socket))
        assert world.own_host is not None
        container = await container_on(wire, host)
        shown = await until(socket, world, container.uuid)
        assert (shown.state, shown.primary_ip, shown.host_uuid) == ("starting", "10.42.0.9", "host-1")
        await change(wire, container, state="running", startCount=1)
        frame = await next_frame(socket)
        assert isinstance(frame, Change)
        assert [each.key for each in frame.changed] == [container.uuid]
        await change(wire, container, state="removing")
        frame = await next_frame(socket)
        assert isinstance(frame, Change)
        assert (frame.gone, frame.changed) == ((Key("container", container.uuid),), ())


async def test_an_update_that_changes_nothing_shown_sends_nothing(wire: Wire) -> None:
    agent = await wire.register()
    host = await host_of(wire, agent)
    container = await container_on(wire, host)
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        await next_frame(socket)
        await change(wire, container, transitioningMessage="pulling")
        await plant(wire, "stack", uuid="marker", name="marker")
        frame = await next_frame(socket)
    assert isinstance(frame, Change)
    assert [each.key for each in frame.changed] == ["marker"]


async def test_changes_in_quick_succession_are_gathered(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    world, frames = World(), 0
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world.apply(await next_frame(socket))
        for number in range(40):
            await plant(wire, "stack", uuid=f"stack-{number}", name=f"s{number}")
        while len(world.stacks) < 40:
            world.apply(await next_frame(socket))
            frames += 1
    assert frames < 20


async def test_a_follower_goes_on_where_it_was(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    world = World()
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world.apply(await next_frame(socket))
    await plant(wire, "stack", uuid="meanwhile", name="meanwhile")
    query = f"?epoch={world.epoch}&revision={world.revision}"
    async with wire.socket(f"/v1/world{query}", headers=agent.headers) as socket:
        greeting = await next_frame(socket)
        assert isinstance(greeting, Change)
        assert (greeting.host, greeting.changed) == ("host-1", ())
        world.apply(greeting)
        while "meanwhile" not in world.stacks:
            world.apply(await next_frame(socket))


@pytest.mark.parametrize("query", ["?epoch=other&revision=1", "?epoch={epoch}&revision=1"])
async def test_who_names_an_unknown_place_gets_everything(wire: Wire, query: str) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        epoch = (await next_frame(socket)).epoch
    async with wire.socket(f"/v1/world{query.format(epoch=epoch)}", headers=agent.headers) as socket:
        assert isinstance(await next_frame(socket), Full)


async def test_a_service_shows_its_token_to_hosts_and_to_nobody_else(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    stack = await wire.create("stacks", name="shop")
    service = await wire.create("services", name="web", stackId=stack["id"], launchConfig={"imageUuid": "docker:a"})
    key = f"{service['uuid']}_web"
    world = World()
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        async with asyncio.timeout(_WAIT):
            while key not in world.services or world.services[key].token is None:
                world.apply(await next_frame(socket))
    token = world.services[key].token
    assert token is not None
    assert len(token) == 40
    async with wire.session.get(service["links"]["self"]) as response:
        assert token not in await response.text()


async def test_a_whole_comes_deflated_to_who_asks_for_it(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    async with wire.socket("/v1/world?encoding=deflate", headers=agent.headers) as socket:
        whole = decode_frame(zlib.decompress(await socket.receive_bytes(timeout=_WAIT), -15))
        assert isinstance(whole, Full)
        assert whole.host == "host-1"
        await plant(wire, "stack", uuid="s", name="s")
        change = await next_frame(socket)
    assert isinstance(change, Change)
    assert change.since == whole.revision


async def test_who_reads_too_slowly_begins_anew(wire: Wire) -> None:
    """The ring has moved on while this follower did not read: it is not told of each change, but of the outcome."""
    agent = await wire.register()
    await host_of(wire, agent)
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world = World()
        world.apply(await next_frame(socket))
        environment = wire.assembly.snapshots.kept(ENVIRONMENT)
        assert environment is not None
        for number in range(2000):  # without giving way to whoever sends
            environment.frames.add(environment.revision + 1, (Stack(uuid=f"s{number % 9}", name=f"{number}"),), ())
        await plant(wire, "stack", uuid="last", name="last")
        frames = []
        async with asyncio.timeout(_WAIT):
            while "last" not in world.stacks:
                frames.append(await next_frame(socket))
                world.apply(frames[-1])
    assert isinstance(frames[0], Full)
    assert len(frames) < 10


async def test_a_hosts_upstream_understands_it_all(wire: Wire) -> None:
    agent = await wire.register()
    await host_of(wire, agent)
    key, _, secret = base64.b64decode(agent.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    world = World()
    async with asyncio.timeout(_WAIT), aclosing(Upstream(wire.url, key, secret).follow(world)) as deltas:
        await anext(deltas)
        assert list(world.hosts) == ["host-1"]
        await plant(wire, "stack", uuid="s", name="s")
        while "s" not in world.stacks:
            await anext(deltas)
    async with asyncio.timeout(_WAIT), aclosing(Upstream(wire.url, key, secret).follow(world)) as deltas:
        await plant(wire, "stack", uuid="t", name="t")
        while "t" not in world.stacks:
            await anext(deltas)
        store = wire.assembly.context.store
        changes = store.changes()
        for number in range(80):  # so many that they come compressed
            row = {"accountId": ENVIRONMENT, "state": "active", "uuid": f"many-{number}", "name": f"m{number}"}
            changes.insert("stack", row)
        await store.commit(changes)
        while "many-79" not in world.stacks:
            await anext(deltas)
    assert world.host == "host-1"
    assert len(world.stacks) == 82


async def test_a_service_comes_to_life_before_the_eyes_of_its_hosts(wire: Wire) -> None:
    """The whole way, with a simulated host. A container that is seen at all is seen with its address."""
    agent = await wire.register(uri_format="sim://%s")
    async with asyncio.timeout(_WAIT):
        while not await wire.assembly.context.store.find_by("host", agentId=agent.id, state="active"):
            await asyncio.sleep(0.02)
    stack = await wire.create("stacks", name="Shop")
    world = World()
    addresses: list[tuple[str, str | None]] = []
    async with wire.socket("/v1/world", headers=agent.headers) as socket:
        world.apply(await next_frame(socket))
        service = await wire.create(
            "services",
            name="Web",
            stackId=stack["id"],
            scale=3,
            startOnCreate=True,
            launchConfig={"imageUuid": "docker:web", "labels": {"tier": "front"}},
            secondaryLaunchConfigs=[{"name": "log", "imageUuid": "docker:log"}],
        )
        async with asyncio.timeout(_WAIT):
            while [each.state for each in world.containers.values()] != ["running"] * 6:
                delta = world.apply(await next_frame(socket))
                addresses.extend((each.uuid, each.primary_ip) for _, each in delta.of("container") if each)
    assert set(addresses) == {(each.uuid, each.primary_ip) for each in world.containers.values()}
    assert len({each.primary_ip for each in world.containers.values()} - {None}) == 6
    assert {each.host_uuid for each in world.containers.values()} == {world.host}
    places = sorted(
        (place.service_uuid, place.service_name) for c in world.containers.values() for place in c.memberships
    )
    assert places == sorted([(service["uuid"], "Web")] * 3 + [(service["uuid"], "log")] * 3)
    primary, sidekick = (world.services[f"{service['uuid']}_{name}"] for name in ("web", "log"))
    assert (primary.labels["tier"], primary.sidekicks, sidekick.primary_service_name) == ("front", ("log",), "Web")
    assert primary.stack_name == "Shop"


async def test_a_containers_address_is_known_while_its_host_starts_it(wire: Wire) -> None:
    """The test is the host: it holds the command back until the address has arrived here."""
    agent = await wire.register()
    await plant(wire, "host", uuid="host-1", kind="sim", agentId=agent.id, agentIpAddress="172.16.0.5", hostname="h")
    names = "eventNames=compute.instance.activate"
    world = World()
    async with (
        wire.socket(f"/v1/subscribe?{names}", headers={**agent.headers, "X-Drover-Channel": "1"}) as commands,
        wire.socket("/v1/world", headers=agent.headers) as socket,
    ):
        world.apply(await next_frame(socket))
        created = await wire.create("containers", imageUuid="docker:a", name="c", labels={"a": "b"})
        command = await frame(commands, lambda each: each["name"] == "compute.instance.activate")
        shown = await until(socket, world, created["uuid"])
        assert (shown.state, shown.host_uuid, shown.labels["a"]) == ("starting", "host-1", "b")
        assert shown.primary_ip is not None
        done = {"instanceHostMap": {"instance": {"externalId": "docker-id"}}}
        await commands.send_json(
            {"publish": {"name": command["replyTo"], "previousIds": [command["id"]], "data": done}}
        )
        async with asyncio.timeout(_WAIT):
            while world.containers[shown.uuid].state != "running":
                world.apply(await next_frame(socket))
    assert world.containers[shown.uuid].external_id == "docker-id"
    assert world.containers[shown.uuid].primary_ip == shown.primary_ip
