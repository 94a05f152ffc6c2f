"""The kernel's tables as pure functions of the remote addresses."""

import pytest

from drover.host.network.routers.forwarding import Forwarding, Way, difference, forwarding, vtep_mac

from .test_overlay import change, container, loaded, router


@pytest.mark.parametrize(
    ("router_ip", "mac"), [("10.42.3.17", "0e:00:0a:2a:03:11"), ("10.42.200.255", "0e:00:0a:2a:c8:ff")]
)
def test_the_device_has_the_address_of_rancher(router_ip: str, mac: str) -> None:
    assert vtep_mac(router_ip) == mac


def test_each_remote_address_has_a_route_and_a_neighbour_and_each_host_an_entry() -> None:
    _, overlay = loaded(container("a", 2, "10.42.1.1"), container("b", 3, "10.42.1.2"))
    tables = forwarding(overlay, lambda peer: Way(peer.host_address))
    mac = "0e:00:0a:2a:00:06"
    assert tables.routes == {"10.42.0.6": "main", "10.42.1.1": "main"}
    assert tables.neighbours == {"10.42.0.6": mac, "10.42.1.1": mac}
    assert tables.fdb == {mac: "192.0.2.2"}, "the host without a router gets nothing"


def test_a_peer_reached_otherwise_gets_nothing() -> None:
    _, overlay = loaded(container("a", 2, "10.42.1.1"))
    assert forwarding(overlay, lambda _: None) == Forwarding()


def test_the_peers_own_address_may_need_another_table() -> None:
    _, overlay = loaded(container("a", 2, "10.42.1.1"))
    tables = forwarding(overlay, lambda peer: Way(peer.router_ip, router_table="1042"))
    assert tables.routes == {"10.42.0.6": "1042", "10.42.1.1": "main"}
    assert tables.fdb == {"0e:00:0a:2a:00:06": "10.42.0.6"}


def test_a_difference_is_small_and_in_a_safe_order() -> None:
    world, overlay = loaded(container("a", 2, "10.42.1.1"))
    before = forwarding(overlay, lambda peer: Way(peer.host_address))
    changed = overlay.take(world, change(world, container("b", 2, "10.42.1.2")))
    part = forwarding(overlay, lambda peer: Way(peer.host_address), changed.ips)
    assert difference(before.only(changed.ips), part, "vtep1042").tables == (
        "neigh replace 10.42.1.2 lladdr 0e:00:0a:2a:00:06 nud permanent dev vtep1042",
        "route replace 10.42.1.2/32 dev vtep1042 table main",
    )
    before.take_over(changed.ips, part)
    assert before == forwarding(overlay, lambda peer: Way(peer.host_address))
    assert len(difference(before, before, "vtep1042")) == 0


def test_what_leaves_is_unrouted_first() -> None:
    _, overlay = loaded()
    batches = difference(forwarding(overlay, lambda peer: Way(peer.host_address)), Forwarding(), "vtep1042")
    assert batches.enter == ()
    assert batches.tables == ("route del 10.42.0.6/32 dev vtep1042 table main", "neigh del 10.42.0.6 dev vtep1042")
    assert batches.leave == ("fdb del 0e:00:0a:2a:00:06 dev vtep1042 dst 192.0.2.2 self",)


def test_a_host_that_gets_another_router_changes_all_its_neighbours() -> None:
    world, overlay = loaded(container("a", 2, "10.42.1.1"))
    overlay.take(world, change(world, router(2, "10.42.0.66")))
    tables = forwarding(overlay, lambda peer: Way(peer.host_address))
    assert tables.neighbours["10.42.1.1"] == "0e:00:0a:2a:00:42"
