"""A replica fed by a metadata service that is not Drover's: the whole standard tree, read when its version changes.

The tree of version 2016-07-29 says everything that a world holds except a container's `host_ip` and a service's
token, and it shows names in lower case. Numbering is our own, because such a service has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
import msgspec

from drover.client.world.frames import Full
from drover.client.world.objects import Container, Environment, Host, Membership, Network, Object, Service, Stack
from drover.client.world.world import Delta, World

TREE = "/2016-07-29"
POLL_SECONDS = 5
"""How long one long poll lasts; clients of this service are known to give up after 10 s."""
_LEAST_POLL_SECONDS = 1.0
_POLL_TIMEOUT = aiohttp.ClientTimeout(total=POLL_SECONDS + 10.0)
_READ_TIMEOUT = aiohttp.ClientTimeout(total=60.0)
_JSON = {"Accept": "application/json"}

T = TypeVar("T", bound=Object)


class UnusableTree(aiohttp.ClientError):
    """The service answered with something that is no tree; asking again later may help."""


async def tree_deltas(session: aiohttp.ClientSession, base: str, world: World) -> AsyncGenerator[Delta, None]:
    """One delta for each read of the tree, also when nothing differs. Ends only by an error of the connection."""
    epoch, revision = uuid4().hex, 0
    version = ""
    while True:
        tree = await _get(session, base + TREE, _READ_TIMEOUT)
        if not isinstance(tree, Mapping):
            raise UnusableTree(f"{base}{TREE} is no map")
        version = str(tree.get("version") or "")
        revision += 1
        yield world.apply(world_of_tree(tree, epoch=epoch, revision=revision))
        await _another_version(session, base, version)


async def _another_version(session: aiohttp.ClientSession, base: str, version: str) -> None:
    query = {"wait": "true", "value": version, "maxWait": str(POLL_SECONDS)}
    clock = asyncio.get_running_loop().time
    while True:
        asked = clock()
        if str(await _get(session, f"{base}{TREE}/version", _POLL_TIMEOUT, query)) != version:
            return
        if clock() - asked < _LEAST_POLL_SECONDS:
            # A service that does not know how to wait would be asked without end.
            await asyncio.sleep(_LEAST_POLL_SECONDS)


async def _get(
    session: aiohttp.ClientSession, url: str, timeout: aiohttp.ClientTimeout, query: Mapping[str, str] | None = None
) -> Any:
    async with session.get(url, params=query, headers=_JSON, timeout=timeout) as answer:
        body = await answer.read()
    if answer.status != 200:
        raise UnusableTree(f"{url} answered {answer.status}")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise UnusableTree(f"{url} sent no JSON: {error}") from error


def world_of_tree(tree: Mapping[str, Any], *, epoch: str, revision: int) -> Full:
    """The frame that says what a tree of version 2016-07-29 says. Raises UnusableTree for one that is none."""
    services = _maps(tree.get("services"))
    memberships = _memberships(services)
    own_host = _map(_map(tree.get("self")).get("host")).get("uuid")
    objects: list[Object] = [
        Environment(
            uuid=str(tree.get("uuid") or ""), name=str(tree.get("name") or ""), region_name=tree.get("region_name")
        )
    ]
    try:
        objects += [
            msgspec.structs.replace(_object(each, Container), memberships=memberships.get(each.get("uuid"), ()))
            for each in _maps(tree.get("containers"))
        ]
        objects += [msgspec.structs.replace(_object(each, Service), token=None) for each in services]
        objects += [_object(each, Stack) for each in _maps(tree.get("stacks"))]
        objects += [_object(each, Host) for each in _maps(tree.get("hosts"))]
        objects += [_object(each, Network) for each in _maps(tree.get("networks"))]
    except msgspec.ValidationError as error:
        raise UnusableTree(f"the metadata tree has an object of another shape: {error}") from error
    return Full(epoch=epoch, revision=revision, objects=tuple(objects), host=own_host)


def _memberships(services: Iterable[Mapping[str, Any]]) -> dict[Any, tuple[Membership, ...]]:
    found: dict[Any, tuple[Membership, ...]] = {}
    for service in services:
        place = Membership(service_uuid=str(service.get("uuid")), service_name=str(service.get("name")))
        for container in _maps(service.get("containers")):
            uuid = container.get("uuid")
            found[uuid] = (*found.get(uuid, ()), place)
    return found


def _object(fields: Mapping[str, Any], kind: type[T]) -> T:
    """Null stands for "no value", which a typed object says with its default."""
    return msgspec.convert(_without_null({**fields, "metadata_kind": None}), kind, strict=False)


def _without_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_null(each) for key, each in value.items() if each is not None}
    return value


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value or () if isinstance(each, Mapping)] if isinstance(value, list) else []


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
