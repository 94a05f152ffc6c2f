"""Snapshots against a real store: kept from commits alone, equal to what a fresh reading gives, and let go."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drover.client.world import Key, Object, World, decode_frame
from drover.client.world.world import kind_of
from drover.common.clock import now_ms
from drover.server.snapshot import Environment, Snapshots
from drover.server.store import Record, Store

pytestmark = pytest.mark.anyio


async def put(store: Store, type_name: str, **values: Any) -> Record:
    """A new row; its uuid is made from its type and number, like those of the unit tests."""
    changes = store.changes()
    record = changes.insert(type_name, {"kind": type_name, "state": "active", "created": now_ms(), **values})
    changes.update(record, {"uuid": values.get("uuid", f"{type_name}-{record.id}")})
    committed = await store.commit(changes)
    return committed.record(record)


async def set_(store: Store, record: Record, **values: Any) -> None:
    changes = store.changes()
    changes.update(record, values)
    await store.commit(changes)


async def remove(store: Store, record: Record) -> None:
    await set_(store, record, state="removed", removed=now_ms())


class Place:
    """An environment with a network, and the rows that a test adds."""

    def __init__(self, store: Store, account: Record, network: Record) -> None:
        self.store = store
        self.account = account
        self.network = network

    @classmethod
    async def make(cls, store: Store, name: str) -> Place:
        account = await put(store, "account", name=name, kind="project")
        network = await put(store, "network", accountId=account.id, kind="managed", name="managed", hostPorts=True)
        await set_(store, account, defaultNetworkId=network.id)
        return cls(store, account, network)

    @property
    def id(self) -> int:
        return self.account.id

    async def put(self, type_name: str, **values: Any) -> Record:
        return await put(self.store, type_name, accountId=self.id, **values)

    async def host(self, **values: Any) -> Record:
        return await self.put("host", **{"kind": "docker", "hostname": "h", "agentIpAddress": "172.16.0.1", **values})

    async def service(self, stack: Record, name: str, **values: Any) -> Record:
        return await self.put("service", name=name, stackId=stack.id, **values)

    async def container(self, host: Record, **values: Any) -> Record:
        given = {"kind": "container", "state": "running", "primaryIpAddress": "10.42.0.2", **values}
        return await self.put("instance", hostId=host.id, primaryNetworkId=self.network.id, **given)

    async def member(self, service: Record, host: Record, **values: Any) -> Record:
        container = await self.container(host, **values)
        await self.put("serviceExposeMap", serviceId=service.id, instanceId=container.id)
        return container


@pytest.fixture
async def place(store: Store) -> Place:
    return await Place.make(store, "Default")


@pytest.fixture
async def snapshots(store: Store) -> AsyncIterator[Snapshots]:
    kept = Snapshots(store, gather=0.005)
    task = asyncio.create_task(kept.run())
    yield kept
    task.cancel()


def one(environment: Environment, kind: str, key: str) -> Any:
    return environment.own[Key(kind, key)]


def objects(environment: Environment) -> dict[Key, Object]:
    return {**environment.foreign, **environment.own}


async def fresh(store: Store, account_id: int) -> dict[Key, Object]:
    """What a server that has just started would say."""
    async with Snapshots(store).following(account_id) as environment:
        return dict(objects(environment))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def replica(environment: Environment) -> AsyncIterator[World]:
    """A world that is fed with the frames of an environment."""
    world = World()
    whole = environment.whole()
    world.apply(decode_frame(whole.text(None)))

    async def feed() -> None:
        at = whole.revision
        while True:
            await environment.wait(at)
            missed, at = environment.frames.since(at), environment.revision
            for text in missed:
                world.apply(decode_frame(text))

    task = asyncio.create_task(feed())
    yield world
    task.cancel()


async def test_a_change_costs_no_statement_beyond_its_own(store: Store, place: Place, snapshots: Snapshots) -> None:
    stack = await place.put("stack", name="shop")
    service = await place.service(stack, "web")
    host = await place.host()
    container = await place.member(service, host)
    await set_(store, container, startCount=1)
    before = store.database.statements
    await set_(store, container, startCount=2)
    alone = store.database.statements - before
    async with snapshots.following(place.id) as environment:
        before = store.database.statements
        revision = environment.revision
        await set_(store, container, startCount=3)
        await environment.wait(revision)
        assert store.database.statements - before == alone


async def test_loading_takes_as_many_statements_for_many_containers_as_for_few(store: Store, place: Place) -> None:
    async def cost() -> int:
        before = store.database.statements
        async with Snapshots(store).following(place.id):
            return store.database.statements - before

    host = await place.host()
    await place.container(host)
    few = await cost()
    for _ in range(60):
        await place.container(host)
    assert await cost() == few


async def test_what_is_committed_while_reading_is_not_lost(store: Store, place: Place, snapshots: Snapshots) -> None:
    host = await place.host()
    containers = [await place.container(host) for _ in range(20)]

    async def follow() -> dict[Key, Object]:
        async with snapshots.following(place.id) as environment:
            await writing
            await until(lambda: not environment.sheet.stale)
            return dict(objects(environment))

    async def write() -> None:
        for number, container in enumerate(containers):
            await set_(store, container, state="stopped", startCount=number)
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    assert await follow() == await fresh(store, place.id)


async def test_an_address_is_known_as_soon_as_it_is_committed(place: Place, snapshots: Snapshots) -> None:
    """The commit that gives a container its address comes before the command to its host."""
    host = await place.host()
    async with snapshots.following(place.id) as environment:
        revision = environment.revision
        container = await place.container(host, state="starting", primaryIpAddress="10.42.0.77")
        await environment.wait(revision)
        shown = one(environment, "container", container.uuid)
        assert (shown.state, shown.primary_ip) == ("starting", "10.42.0.77")


async def test_changes_are_gathered(store: Store, place: Place) -> None:
    snapshots = Snapshots(store, gather=0.3)
    async with snapshots.following(place.id) as environment:
        clock = asyncio.get_running_loop().time
        published: list[float] = []
        snapshots.listen(lambda _: published.append(clock()))
        for number in range(10):
            await place.put("stack", name=f"s{number}")
        await until(lambda: len([key for key in environment.own if key.kind == "stack"]) == 10)
        assert all(later - earlier >= 0.29 for earlier, later in itertools.pairwise(published))


async def test_the_first_change_does_not_wait_for_others(store: Store, place: Place) -> None:
    snapshots = Snapshots(store, gather=1000.0)
    async with snapshots.following(place.id) as environment:
        published: list[int] = []
        snapshots.listen(lambda _: published.append(len(environment.own)))
        await place.put("stack", name="first")
        await until(lambda: len(published) == 1)
        await place.put("stack", name="second")
        assert len(published) == 1


async def test_a_snapshot_is_let_go_a_while_after_the_last_follower(store: Store, place: Place) -> None:
    snapshots = Snapshots(store, linger=0.05)
    async with snapshots.following(place.id) as first:
        async with snapshots.following(place.id) as second:
            assert first is second
        assert snapshots.kept(place.id) is first
    async with snapshots.following(place.id) as again:
        assert again is first
    await until(lambda: snapshots.kept(place.id) is None)
    async with snapshots.following(place.id) as anew:
        assert anew.frames.epoch != first.frames.epoch
        assert anew.revision > first.revision


async def test_revisions_grow_also_across_a_start(store: Store, place: Place, snapshots: Snapshots) -> None:
    async with snapshots.following(place.id) as environment:
        for number in range(3):
            revision = environment.revision
            await place.put("stack", name=f"s{number}")
            await environment.wait(revision)
            assert environment.revision > revision
        last = environment.revision
    await asyncio.sleep(0.002)
    async with Snapshots(store).following(place.id) as after_restart:
        assert after_restart.revision > last


async def test_settings_and_regions_are_heard(store: Store, place: Place) -> None:
    checked = False
    snapshots = Snapshots(store, ipsec_checked=lambda: checked, gather=0.0)
    stack = await place.put("stack", name="net")
    service = await place.service(stack, "ipsec")
    async with snapshots.following(place.id) as environment:

        def metadata() -> Any:
            return one(environment, "service", f"{service.uuid}_ipsec").metadata["ipsec.service.enable.healthcheck"]

        def region_name() -> Any:
            return one(environment, "environment", place.account.uuid).region_name

        assert metadata() is False
        checked = True
        await put(store, "setting", name="ipsec.service.enable.healthcheck", value="true")
        await until(lambda: metadata() is True)
        region = await put(store, "region", name="EU", local=True)
        await until(lambda: region_name() == "EU")
        await remove(store, region)
        await until(lambda: region_name() is None)


# Equality with a fresh reading, whatever happens


class Turmoil:
    """Random changes of every kind of row that metadata is made of."""

    def __init__(self, store: Store, places: list[Place], seed: int) -> None:
        self.store = store
        self.places = places
        self.random = random.Random(seed)
        self.rows: dict[tuple[str, int], list[Record]] = {}

    def some(self, type_name: str, place: Place) -> Record | None:
        known = self.rows.get((type_name, place.id))
        return self.random.choice(known) if known else None

    def number_of(self, type_name: str, place: Place) -> int | None:
        found = self.some(type_name, place)
        return None if found is None else found.id

    async def step(self) -> None:
        place = self.random.choice(self.places)
        type_name = self.random.choice(list(_MADE))
        existing = self.some(type_name, place)
        move = self.random.random()
        if existing is None or move < 0.45:
            made = await place.put(type_name, **_MADE[type_name](self, place))
            self.rows.setdefault((type_name, place.id), []).append(made)
        elif move < 0.85:
            values = _MADE[type_name](self, place)
            chosen = self.random.sample(sorted(values), self.random.randint(1, len(values)))
            await set_(self.store, existing, **{name: values[name] for name in chosen})
        else:
            self.rows[(type_name, place.id)].remove(existing)
            if self.random.random() < 0.2:
                changes = self.store.changes()
                changes.delete(existing)
                await self.store.commit(changes)
            else:
                await remove(self.store, existing)

    def word(self) -> str:
        return self.random.choice(["A", "b", "C"])

    def account_link(self) -> dict[str, Any]:
        other = self.random.choice(self.places)
        return {"linkedAccountId": other.id, "linkedAccount": other.account.name}


_MADE: dict[str, Callable[[Turmoil, Place], dict[str, Any]]] = {
    "host": lambda t, p: {
        "agentIpAddress": t.random.choice([None, "172.16.0.1", "172.16.0.2"]),
        "state": t.random.choice(["active", "inactive", "removing"]),
        "labels": {"a": t.word()},
    },
    "network": lambda t, p: {"kind": t.random.choice(["managed", "dockerHost"]), "name": t.word()},
    "stack": lambda t, p: {"name": t.word()},
    "certificate": lambda t, p: {"name": t.word()},
    "service": lambda t, p: {
        "name": t.word(),
        "stackId": t.number_of("stack", p),
        "secondaryLaunchConfigs": [{"name": t.word().lower() * 2}] if t.random.random() < 0.3 else None,
        "token": "secret",
        "lbConfig": {
            "certificateIds": [t.number_of("certificate", p) or 99],
            "portRules": [{"sourcePort": 80, "serviceId": t.number_of("service", p)}],
        },
    },
    "instance": lambda t, p: {
        "state": t.random.choice(["starting", "running", "stopped", "removing", "error"]),
        "hostId": t.number_of("host", p),
        "primaryNetworkId": t.number_of("network", p),
        "networkContainerId": t.number_of("instance", p) if t.random.random() < 0.3 else None,
        "primaryIpAddress": t.random.choice([None, "10.42.0.1", "10.42.0.2"]),
        "instanceLinks": {"db": t.number_of("instance", p)},
    },
    "instanceLink": lambda t, p: {
        "instanceId": t.number_of("instance", p),
        "linkName": t.word(),
        "targetInstanceId": t.number_of("instance", p),
    },
    "serviceExposeMap": lambda t, p: {
        "serviceId": t.number_of("service", p),
        "instanceId": t.number_of("instance", p),
        "dnsPrefix": t.random.choice([None, "side"]),
    },
    "healthcheckInstanceHostMap": lambda t, p: {
        "instanceId": t.number_of("instance", p),
        "hostId": t.number_of("host", p),
    },
    "serviceConsumeMap": lambda t, p: {
        "serviceId": t.number_of("service", p),
        "consumedServiceId": t.number_of("service", t.random.choice(t.places)) if t.random.random() < 0.6 else None,
        "consumedService": f"{t.random.choice(t.places).account.name}/{t.word()}/{t.word()}",
        "name": t.random.choice([None, "alias"]),
    },
    "accountLink": lambda t, p: t.account_link(),
}


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_kept_equals_what_a_fresh_reading_gives(store: Store, snapshots: Snapshots, seed: int) -> None:
    own, other = await Place.make(store, "Own"), await Place.make(store, "Other")
    turmoil = Turmoil(store, [own, other], seed)
    for _ in range(30):
        await turmoil.step()
    async with snapshots.following(own.id) as environment, replica(environment) as world:
        for _ in range(6):
            for _ in range(25):
                await turmoil.step()
            expected = await fresh(store, own.id)
            await until_equal(lambda: objects(environment), expected)
            await until_equal(lambda: {Key(kind_of(each), each.key): each for each in world.objects()}, expected)


async def until_equal(present: Callable[[], dict[Key, Object]], expected: dict[Key, Object]) -> None:
    """Changes of linked environments arrive after the commit that made them."""
    try:
        async with asyncio.timeout(60):
            while present() != expected:
                await asyncio.sleep(0.005)
    except TimeoutError:
        assert present() == expected


# Linked environments


async def linked(store: Store, snapshots: Snapshots) -> tuple[Place, Place, Record, Record]:
    """Two environments; each has a service with one container. Nothing is linked yet."""
    own, other = await Place.make(store, "Own"), await Place.make(store, "Other")
    services = []
    for place in (own, other):
        stack = await place.put("stack", name="shop")
        await place.put("stack", name="unrelated")
        service = await place.service(stack, "web", token=f"token of {place.account.name}")
        host = await place.host(uuid=f"host of {place.account.name}")
        container = await place.member(service, host, uuid=f"container of {place.account.name}")
        await place.put("healthcheckInstanceHostMap", instanceId=container.id, hostId=host.id)
        services.append(service)
    return own, other, services[0], services[1]


def seen_of(environment: Environment, other: Place) -> dict[str, Any]:
    found = environment.foreign.values()
    return {kind_of(each): each for each in found if getattr(each, "environment_uuid", "") == other.account.uuid}


@pytest.mark.parametrize("by_name", [True, False], ids=["named", "numbered"])
async def test_a_linked_service_comes_with_all_it_needs(store: Store, snapshots: Snapshots, by_name: bool) -> None:
    own, other, mine, theirs = await linked(store, snapshots)
    async with snapshots.following(own.id) as here, snapshots.following(other.id) as there:
        assert not here.foreign
        if by_name:
            await own.put("accountLink", linkedAccountId=other.id, linkedAccount="Other")
            link = await own.put(
                "serviceConsumeMap", serviceId=mine.id, consumedService="other/SHOP/web", name="remote"
            )
        else:
            link = await own.put("serviceConsumeMap", serviceId=mine.id, consumedServiceId=theirs.id, name="remote")
        await until(lambda: set(seen_of(here, other)) == {"service", "container", "stack", "host", "network"})
        await until(lambda: set(seen_of(there, own)) == {"service", "container", "stack", "host", "network"})
        seen = seen_of(here, other)
        assert seen["stack"].name == "shop"
        assert seen["service"].token is None
        assert seen["container"].health_check_hosts == ()
        await until(lambda: one(here, "service", f"{mine.uuid}_web").links != {})
        links = one(here, "service", f"{mine.uuid}_web").links
        assert [(key.lower(), alias) for key, alias in links.items()] == [("other/shop/web", "remote")]
        await remove(store, link)
        await until(lambda: not here.foreign and not there.foreign)


async def test_a_linked_containers_change_is_told_in_both_environments(store: Store, snapshots: Snapshots) -> None:
    own, _, mine, theirs = await linked(store, snapshots)
    await own.put("serviceConsumeMap", serviceId=mine.id, consumedServiceId=theirs.id)
    async with snapshots.following(own.id) as here:
        container = await store.first("instance", uuid="container of Other")
        assert container is not None
        async with replica(here) as world:
            await set_(store, container, state="stopped")
            await until(lambda: world.containers["container of Other"].state == "stopped")
            host = await store.first("host", uuid="host of Other")
            assert host is not None
            await set_(store, host, agentIpAddress="172.16.9.9")
            await until(lambda: world.hosts["host of Other"].agent_ip == "172.16.9.9")
            await remove(store, container)
            await until(lambda: "container of Other" not in world.containers)
            await until(lambda: "host of Other" not in world.hosts)


async def test_nothing_is_seen_any_more_when_the_environments_are_parted(store: Store, snapshots: Snapshots) -> None:
    """The link between the services still stands; the one between the environments is gone."""
    own, other, mine, _ = await linked(store, snapshots)
    joined = await own.put("accountLink", linkedAccountId=other.id, linkedAccount="Other")
    await own.put("serviceConsumeMap", serviceId=mine.id, consumedService="Other/shop/web", name="remote")
    async with snapshots.following(own.id) as here, replica(here) as world:
        assert "container of Other" in world.containers
        await remove(store, joined)
        await until(lambda: "container of Other" not in world.containers)
        assert not here.foreign
        assert "container of Own" in world.containers


async def test_an_environment_that_is_not_linked_is_not_read(store: Store, snapshots: Snapshots) -> None:
    own, other, *_ = await linked(store, snapshots)
    async with snapshots.following(own.id):
        assert snapshots.kept(other.id) is None
