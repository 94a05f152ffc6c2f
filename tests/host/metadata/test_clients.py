"""What the clients of Rancher 1.6's metadata service do, done to this one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest

from drover.client.world import World
from drover.client.world.follow import follow
from drover.client.world.foreign import tree_deltas, world_of_tree
from drover.host.metadata.listener import Listener
from drover.host.metadata.publication import Publication
from tests.host.metadata.shop import ALONE, OBJECTS, full, shop_world

pytestmark = pytest.mark.anyio

SECONDS = 60.0


def flattened(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Keys and values as confd's backend makes them: an array of maps by name, another by index, null as text."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from flattened(f"{prefix}/{key}", each)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            name = each.get("name", index) if isinstance(each, dict) else index
            yield from flattened(f"{prefix}/{name}", each)
    elif value is None:
        yield prefix, "null"
    else:
        yield prefix, str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize(("version", "web"), [("2015-12-19", "Web"), ("2016-07-29", "web")])
async def test_confd(version: str, web: str) -> None:
    """It reads everything below a prefix that includes the version, then waits for the next version."""
    world = shop_world()
    service = Listener(Publication(world), trusts_forwarded=True)
    async with service.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{port}/{version}"
        headers = {"Accept": "application/json", "X-Forwarded-For": "10.42.0.11"}

        async def read(path: str) -> Any:
            async with asyncio.timeout(SECONDS), session.get(base + path, headers=headers) as answer:
                return msgspec.json.decode(await answer.read())

        keys = dict(flattened("", await read("")))
        stack = "Shop" if web == "Web" else "shop"
        assert keys[f"/stacks/{stack}/services/{web}/scale"] == "2"
        assert keys["/self/container/hostname"] == "null"
        assert keys["/self/service/metadata/users/ann/role"] == "admin"
        assert keys["/self/service/health_check/port"] == "80"
        assert keys["/containers/" + ("Alone" if web == "Web" else "alone") + "/primary_ip"] == "10.42.0.14"
        missing = dict(flattened("", await read("/no/such/key")))
        assert missing == {"/code": "404", "/message": "Not found", "/type": "error"}

        waiting = asyncio.create_task(read(f"/version?wait=true&value={keys['/version']}&maxWait=10"))
        async with asyncio.timeout(SECONDS):
            while not service.waiting:
                await asyncio.sleep(0.002)
        service.publication.apply(world.apply(full(*OBJECTS[:-1], revision=2)))
        assert await waiting != keys["/version"]


async def test_a_client_that_probes_until_there_is_an_answer() -> None:
    """It asks for the version with growing pauses and takes nothing but 200; then it follows the version."""
    world = World()
    service = Listener(Publication(world))
    async with service.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{port}/2016-07-29"
        headers = {"Accept": "application/json"}
        statuses = []
        pause = 0.01
        while True:
            async with session.get(f"{base}/version", headers=headers) as answer:
                statuses.append(answer.status)
                if answer.status == 200:
                    break
            await asyncio.sleep(pause)
            pause *= 2
            if len(statuses) == 3:
                service.publication.apply(world.apply(full()))
        assert statuses == [404, 404, 404, 200]
        seen = "init"
        for revision in (2, 3):
            query = {"wait": "true", "value": seen, "maxWait": "5"}
            async with session.get(f"{base}/version", params=query, headers=headers) as answer:
                assert (await answer.json()) != seen
                seen = await answer.json()
            service.publication.apply(world.apply(full(*OBJECTS[:-revision], revision=revision)))
        async with session.get(f"{base}/containers", headers=headers) as answer:
            decoded = msgspec.json.decode(await answer.read(), type=list[Decoded])
        assert {each.name for each in decoded} == {"agent", "alone"}


class Decoded(msgspec.Struct):
    """As typed clients read a container: unknown fields are left out, null is taken for nothing."""

    name: str
    ips: list[str]
    labels: dict[str, str]
    primary_ip: str | None
    links: dict[str, str] | None


async def test_a_replica_by_the_tree_is_the_replica_by_the_stream() -> None:
    """But for letter case, tokens and the address of a container's host, which the tree does not show."""
    service = Listener(Publication(shop_world()))
    async with service.listening("127.0.0.1", 0) as port, aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{port}"
        by_tree, by_stream = World(), World()
        async with asyncio.timeout(SECONDS):
            deltas = tree_deltas(session, base, by_tree)
            await anext(deltas)
            await deltas.aclose()
            stream = follow(base, by_stream)
            await anext(stream)
            await stream.aclose()
    assert by_tree.hosts == {
        uuid: msgspec.structs.replace(host, name=host.name or host.hostname, hostId=None)
        for uuid, host in by_stream.hosts.items()
    }
    assert by_tree.networks == by_stream.networks
    assert by_tree.host == by_stream.host == "host-1"
    assert set(by_tree.services) == set(by_stream.services)
    assert by_tree.containers[ALONE.uuid] == msgspec.structs.replace(ALONE, name="alone")
    for uuid, container in by_stream.containers.items():
        keys = [f"{each.service_uuid}_{each.service_name}".lower() for each in container.memberships]
        other = by_tree.containers[uuid]
        assert [f"{each.service_uuid}_{each.service_name}".lower() for each in other.memberships] == keys
        assert (other.labels, other.links, other.ips) == (container.labels, container.links, container.ips)


def test_a_tree_that_is_none_is_refused() -> None:
    with pytest.raises(aiohttp.ClientError, match="another shape"):
        world_of_tree({"containers": [{"name": "without uuid"}]}, epoch="e", revision=1)
