"""Which addresses are remote, followed by deltas."""

from ipaddress import IPv4Interface
from typing import Any

from drover.client.world import Change, Container, Delta, Full, Host, Key, Membership, Network, World
from drover.client.world.objects import Object
from drover.host.network.routers.overlay import Overlay, OwnLink, Peer, Remote, locate

LINK = OwnLink("eth0", IPv4Interface("10.42.0.5/16"), "02:00:01:00:00:05", 1500, "10.42.0.1")
NETWORK = Network(uuid="net", metadata={"cniConfig": {"10.conf": {"bridgeSubnet": "10.42.0.0/16"}}})


def host(number: int, **fields: Any) -> Host:
    return Host(**{"uuid": f"h{number}", "agent_ip": f"192.0.2.{number}", "state": "active"} | fields)


def container(uuid: str, number: int, ip: str | None, **fields: Any) -> Container:
    return Container(
        **{"uuid": uuid, "host_uuid": f"h{number}", "primary_ip": ip, "network_uuid": "net", "state": "running"}
        | fields
    )


def router(number: int, ip: str, **fields: Any) -> Container:
    return container(f"r{number}", number, ip, memberships=(Membership("svc", "router"),), **fields)


def loaded(*more: Object) -> tuple[World, Overlay]:
    world = World()
    objects = (NETWORK, host(1), host(2), host(3), router(1, "10.42.0.5"), router(2, "10.42.0.6"), *more)
    delta = world.apply(Full("e", 1, objects, "h1"))
    overlay = Overlay(LINK)
    assert overlay.take(world, delta).everything
    return world, overlay


def change(world: World, *changed: Object, gone: tuple[Key, ...] = ()) -> Delta:
    return world.apply(Change("e", world.revision, world.revision + 1, changed, gone))


def test_a_router_finds_itself_by_its_address() -> None:
    world, overlay = loaded()
    assert overlay.place is not None
    assert overlay.place.container.uuid == "r1"
    assert overlay.place.host_address == "192.0.2.1"
    assert str(overlay.place.subnet) == "10.42.0.0/16"
    assert overlay.place.gateway == "10.42.0.1"
    assert locate(World(), LINK) is None
    assert locate(world, OwnLink("eth0", IPv4Interface("10.42.9.9/16"), "", 1500)) is None


def test_an_unloaded_world_changes_nothing() -> None:
    assert not Overlay(LINK).take(World(), Delta())


def test_only_running_containers_of_the_network_on_other_hosts_are_remote() -> None:
    _, overlay = loaded(
        container("a", 2, "10.42.1.1"),
        container("b", 2, "10.42.1.2", state="starting"),
        container("c", 2, "10.42.1.3", state="stopping"),
        container("d", 2, "10.42.1.4", state="stopped"),
        container("e", 2, None),
        container("f", 2, "10.42.1.5", network_uuid="other"),
        container("g", 2, "10.42.1.6", network_from_container_uuid="a"),
        container("h", 1, "10.42.1.7"),
        container("i", 9, "10.42.1.8"),
    )
    assert set(overlay.remotes) == {"10.42.0.6", "10.42.1.1", "10.42.1.2", "10.42.1.3"}
    assert overlay.remotes["10.42.1.1"] == Remote("10.42.1.1", "192.0.2.2")
    assert overlay.peers == {"192.0.2.2": Peer("192.0.2.2", "h2", "10.42.0.6", answers=True)}


def test_one_container_changes_one_entry() -> None:
    world, overlay = loaded()
    changed = overlay.take(world, change(world, container("a", 2, "10.42.1.1")))
    assert (changed.everything, changed.ips, changed.hosts) == (False, {"10.42.1.1"}, set())
    changed = overlay.take(world, change(world, container("a", 2, "10.42.1.1", state="stopping")))
    assert not changed
    changed = overlay.take(world, change(world, container("a", 3, "10.42.1.1")))
    assert changed.ips == {"10.42.1.1"}
    assert overlay.remotes["10.42.1.1"].host_address == "192.0.2.3"
    changed = overlay.take(world, change(world, gone=(Key("container", "a"),)))
    assert changed.ips == {"10.42.1.1"}
    assert "10.42.1.1" not in overlay.remotes


def test_of_two_claims_the_running_one_wins_until_it_is_gone() -> None:
    world, overlay = loaded(container("old", 2, "10.42.1.1", state="stopping"))
    overlay.take(world, change(world, container("new", 3, "10.42.1.1")))
    assert overlay.remotes["10.42.1.1"].host_address == "192.0.2.3"
    overlay.take(world, change(world, gone=(Key("container", "new"),)))
    assert overlay.remotes["10.42.1.1"].host_address == "192.0.2.2"


def test_an_address_that_comes_home_is_remote_no_more() -> None:
    world, overlay = loaded(container("a", 2, "10.42.1.1"))
    changed = overlay.take(world, change(world, container("a", 1, "10.42.1.1")))
    assert changed.ips == {"10.42.1.1"}
    assert "10.42.1.1" not in overlay.remotes


def test_a_new_router_changes_its_host() -> None:
    world, overlay = loaded()
    changed = overlay.take(world, change(world, router(3, "10.42.0.7")))
    assert changed.hosts == {"192.0.2.3"}
    assert overlay.peers["192.0.2.3"].router_ip == "10.42.0.7"


def test_a_host_with_a_new_address_changes_everything() -> None:
    world, overlay = loaded(container("a", 2, "10.42.1.1"))
    assert overlay.take(world, change(world, host(2, agent_ip="192.0.2.99"))).everything
    assert overlay.remotes["10.42.1.1"].host_address == "192.0.2.99"


def test_a_router_that_is_being_replaced_goes_on() -> None:
    world, overlay = loaded(container("a", 2, "10.42.1.1"))
    overlay.take(world, change(world, router(1, "10.42.0.5", state="stopped"), container("b", 2, "10.42.1.2")))
    assert overlay.place is not None
    assert {"10.42.1.1", "10.42.1.2"} <= set(overlay.remotes)
