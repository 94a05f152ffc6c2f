"""Who is the default among the networks of an environment."""

from __future__ import annotations

from drover.server.orchestration.networks.default_network import choose_default
from drover.server.store import Record


def network(number: int, *, kind: str = "cni", state: str = "active", driver: int | None = 1) -> Record:
    return Record("network", number, {"kind": kind, "state": state, "networkDriverId": driver})


PLACEHOLDER = network(1, kind="managed", driver=None)
BRIDGE = network(2, kind="dockerBridge", driver=None)


def test_the_placeholder_gives_way_to_a_provided_network() -> None:
    assert choose_default(1, [PLACEHOLDER, BRIDGE]) == 1
    assert choose_default(1, [PLACEHOLDER, BRIDGE, network(3)]) == 3
    assert choose_default(3, [PLACEHOLDER, BRIDGE, network(3, state="deactivating")]) == 1


def test_the_present_default_stays() -> None:
    assert choose_default(3, [network(3), network(4)]) == 3
    assert choose_default(3, [network(3, state="updating-active"), network(4)]) == 3


def test_else_the_last_active_one_else_the_first_on_its_way() -> None:
    assert choose_default(None, [network(3), network(4), network(5, state="activating")]) == 4
    assert choose_default(9, [network(3, state="activating"), network(4, state="activating")]) == 3


def test_nothing_to_choose_from() -> None:
    assert choose_default(2, [BRIDGE, network(3, kind="hostOnlyNetwork"), network(4, state="inactive")]) is None
