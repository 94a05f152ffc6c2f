"""Which network, and which address in it."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.networks.addresses import Addresses, NoAddress, mac_address
from drover.server.orchestration.networks.resolve import Networks, NoSuchNetwork
from drover.server.store import ClaimTaken, Record, Store
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio


async def small_subnet(store: Store, **values: Any) -> Record:
    changes = store.changes()
    given = {"networkAddress": "10.1.0.0", "cidrSize": 29, "startAddress": "10.1.0.2", "endAddress": "10.1.0.4"}
    subnet = changes.insert("subnet", {"kind": "subnet", "state": "active", "networkId": 77, **given, **values})
    await store.commit(changes)
    return subnet


def owner(number: int) -> Record:
    return Record("instance", number, {})


async def test_every_environment_has_its_networks(platform: Platform) -> None:
    networks = Networks(platform.store)
    found = await networks.of(platform.environment.id)
    assert {each.kind for each in found} == {"dockerHost", "dockerNone", "dockerContainer", "dockerBridge", "managed"}
    environment = await platform.reload(platform.environment)
    default = networks.get(environment["defaultNetworkId"])
    assert default is not None
    assert default.kind == "managed"
    subnet = networks.subnet(default.id)
    assert subnet is not None
    assert (subnet["networkAddress"], subnet["startAddress"], subnet["endAddress"]) == (
        "10.42.0.0",
        "10.42.0.2",
        "10.42.255.250",
    )


@pytest.mark.parametrize(
    ("mode", "labels", "kind"),
    [
        (None, {}, "managed"),
        ("host", {}, "dockerHost"),
        ("bridge", {"io.rancher.container.network": "true"}, "managed"),
        ("host", {"io.rancher.container.network": "true"}, "dockerHost"),
        ("default", {}, "dockerBridge"),
        ("container", {}, "dockerContainer"),
        ("host", {"io.rancher.cni.network": "managed"}, "managed"),
        ("Docker Bridge Network Mode", {}, "dockerBridge"),
    ],
)
async def test_precedence(platform: Platform, mode: str | None, labels: dict[str, str], kind: str) -> None:
    networks = Networks(platform.store)
    assert (await networks.choose(platform.environment.id, mode, labels)).kind == kind
    with pytest.raises(NoSuchNetwork, match="networkMode nowhere"):
        await networks.choose(platform.environment.id, "nowhere", {})


async def test_without_a_network_stack_real_hosts_use_their_bridge(platform: Platform) -> None:
    networks = Networks(platform.store)
    managed = await networks.choose(platform.environment.id, None, {})
    on_docker = networks.attach(managed, "docker")
    assert (on_docker.kind, on_docker.assigns_address) == ("dockerBridge", False)
    simulated = networks.attach(managed, "sim")
    assert (simulated.kind, simulated.assigns_address) == ("cni", True)
    with_stack = networks.attach(managed.merged({"networkDriverId": 1}), "docker")
    assert (with_stack.kind, with_stack.assigns_address) == ("cni", True)


async def test_addresses_run_out_and_come_back(platform: Platform) -> None:
    store = platform.store
    subnet, addresses = await small_subnet(store), Addresses(store)
    await addresses.ready(subnet)
    taken = [addresses.take(store.changes(), subnet, owner(number)) for number in range(3)]
    assert sorted(taken) == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    with pytest.raises(NoAddress, match="Failed to allocate IP from subnet"):
        addresses.take(store.changes(), subnet, owner(9))
    addresses.give_back(subnet, "10.1.0.3")
    assert addresses.take(store.changes(), subnet, owner(9), ["10.1.0.2", "10.1.0.9", "junk"]) == "10.1.0.3"


async def test_what_is_in_the_database_is_taken(platform: Platform) -> None:
    store = platform.store
    subnet = await small_subnet(store)
    changes = store.changes()
    row = changes.insert("ipAddress", {"subnetId": subnet.id, "address": "10.1.0.2", "state": "active"})
    index = changes.insert("serviceIndex", {"address": "10.1.0.3", "state": "active"})
    await store.commit(changes)
    addresses = Addresses(store)
    await addresses.ready(subnet)
    assert addresses.take(store.changes(), subnet, owner(1)) == "10.1.0.4"
    changes = store.changes()
    changes.update(row, {"removed": 1})
    changes.update(index, {"removed": 1})
    await store.commit(changes)
    freed = {addresses.take(store.changes(), subnet, owner(number)) for number in (2, 3)}
    assert freed == {"10.1.0.2", "10.1.0.3"}


async def test_the_database_guards_an_address_too(platform: Platform) -> None:
    """Two servers that do not know of each other's choice cannot both have it."""
    store = platform.store
    subnet = await small_subnet(store)
    first, second = Addresses(store), Addresses(store)
    await first.ready(subnet)
    await second.ready(subnet)
    for addresses, number in ((first, 1), (second, 2)):
        changes = store.changes()
        addresses.take(changes, subnet, owner(number), ["10.1.0.2"])
        if number == 1:
            await store.commit(changes)
        else:
            with pytest.raises(ClaimTaken):
                await store.commit(changes)


def test_mac_addresses_follow_from_addresses() -> None:
    network = Record("network", 1, {"macPrefix": "02:00:07"})
    assert mac_address(network, "10.42.1.255") == "02:00:07:2a:01:ff"
    assert len({mac_address(network, f"10.42.{high}.{low}") for high in range(8) for low in range(256)}) == 2048
