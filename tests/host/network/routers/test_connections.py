"""What charon is told: the messages of both forms, and how a pair of hosts comes to one."""

from pathlib import Path
from typing import Any

import pytest

from drover.host.network.routers.associations import read_associations
from drover.host.network.routers.charon import Kernel, configuration
from drover.host.network.routers.connections import (
    Datapath,
    Ends,
    Form,
    Timing,
    agreed_form,
    connection,
    first_child,
    host_of,
    secrets,
)

ENDS = Ends("192.0.2.10", "10.42.0.5", "192.0.2.20", "10.42.0.6")


def test_a_host_with_esp_offers_what_the_original_speaks() -> None:
    """The same message that Rancher 1.6's router sends, but for who starts: that is decided here."""
    body = connection(ENDS, Datapath.KERNEL, Timing())["conn-192.0.2.20"]
    children = body.pop("children")
    assert body == {
        "version": "2",
        "remote_addrs": ["192.0.2.20"],
        "encap": "yes",
        "mobike": "no",
        "dpd_delay": "10s",
        "keyingtries": "0",
        "rekey_time": "4h",
        "proposals": ["aes128gcm16-sha256-modp2048", "aes-sha1-modp2048"],
        "local": {"auth": "psk"},
        "remote": {"auth": "psk"},
    }
    assert children["child-192.0.2.20"] == {
        "local_ts": ["0.0.0.0/0"],
        "remote_ts": ["0.0.0.0/0"],
        "esp_proposals": ["aes128gcm16-modp2048", "aes-modp2048"],
        "mode": "tunnel",
        "policies": "no",
        "reqid": "1234",
        "replay_window": "1024",
        "rekey_time": "1h",
        "start_action": "none",
        "close_action": "start",
        "dpd_action": "restart",
    }
    assert set(children) == {"child-192.0.2.20", "tunnel-192.0.2.20"}


def test_in_user_space_there_are_only_the_routers_addresses() -> None:
    """Selectors choose the association there: they must never be shared by two peers."""
    (body,) = connection(ENDS, Datapath.USERLAND, Timing()).values()
    (child,) = body["children"].values()
    assert child["local_ts"] == ["10.42.0.5/32"]
    assert child["remote_ts"] == ["10.42.0.6/32"]
    assert "policies" not in child
    assert "reqid" not in child


@pytest.mark.parametrize(
    ("own", "peer", "renews"),
    [("192.0.2.10", "192.0.2.9", True), ("192.0.2.9", "192.0.2.10", False), ("10.0.0.1", "10.0.0.2", True)],
)
def test_one_end_renews_keys(own: str, peer: str, renews: bool) -> None:
    """Addresses are compared as text, as the original does, so that a mixed pair agrees."""
    (body,) = connection(Ends(own, "10.42.0.5", peer, "10.42.0.6"), Datapath.KERNEL, Timing()).values()
    assert body["rekey_time"] == ("4h" if renews else "8760h")
    assert all(child["rekey_time"] == ("1h" if renews else "8760h") for child in body["children"].values())


def test_without_gcm_it_is_not_offered() -> None:
    (body,) = connection(ENDS, Datapath.KERNEL, Timing(), gcm=False).values()
    assert body["proposals"] == ["aes-sha1-modp2048"]
    assert all(child["esp_proposals"] == ["aes-modp2048"] for child in body["children"].values())


def test_an_operators_changes_apply_to_connections_and_children() -> None:
    overrides = {"dpd_delay": "30s", "children": {"replay_window": "64"}}
    (body,) = connection(ENDS, Datapath.KERNEL, Timing(), overrides=overrides).values()
    assert body["dpd_delay"] == "30s"
    assert all(child["replay_window"] == "64" for child in body["children"].values())
    assert len(body["children"]) == 2


def test_the_first_key_is_preferred_and_all_are_accepted() -> None:
    assert secrets("10.42.0.5", ("new", "old")) == [
        {"id": "psk-0", "type": "IKE", "data": "new", "owners": ["10.42.0.5", "%any"]},
        {"id": "psk-1", "type": "IKE", "data": "old", "owners": ["%any"]},
    ]


@pytest.mark.parametrize(
    ("child", "form"),
    [
        ({"name": "child-192.0.2.20", "remote-ts": ["0.0.0.0/0"]}, Form.COMPAT),
        ({"name": "child-192.0.2.20", "remote-ts": ["10.42.0.6/32"]}, Form.TUNNEL),
        ({"name": "tunnel-192.0.2.20", "remote-ts": ["10.42.0.6/32"]}, Form.TUNNEL),
    ],
)
def test_narrowed_selectors_tell_that_the_peer_is_in_user_space(child: dict[str, Any], form: Form) -> None:
    assert agreed_form(child) is form


def test_what_is_asked_for_first() -> None:
    assert first_child(ENDS, Datapath.KERNEL, None) == "child-192.0.2.20"
    assert first_child(ENDS, Datapath.KERNEL, Form.COMPAT) == "child-192.0.2.20"
    assert first_child(ENDS, Datapath.KERNEL, Form.TUNNEL) == "tunnel-192.0.2.20"
    assert first_child(ENDS, Datapath.USERLAND, None) == "tunnel-192.0.2.20"


def test_connections_of_others_are_left_alone() -> None:
    assert host_of("conn-192.0.2.20") == "192.0.2.20"
    assert host_of("office") is None


def test_libipsec_is_loaded_in_user_space_only_and_first() -> None:
    socket = Path("/run/charon.vici")
    userland = configuration(Kernel(Datapath.USERLAND, gcm=True), socket)
    assert "kernel-libipsec kernel-netlink" in userland
    assert "make_before_break = yes" in userland
    assert "libipsec" not in configuration(Kernel(Datapath.KERNEL, gcm=True), socket)


def test_of_several_associations_the_one_that_carries_comes_first() -> None:
    child = {"name": "tunnel-h", "uniqueid": "7", "state": "INSTALLED", "bytes-in": "10", "install-time": "3"}
    events = [
        {"conn-h": {"uniqueid": "1", "state": "CONNECTING"}},
        {"conn-h": {"uniqueid": "2", "state": "ESTABLISHED", "established": "50", "child-sas": {}}},
        {"conn-h": {"uniqueid": "3", "state": "ESTABLISHED", "established": "90", "child-sas": {"t-7": child}}},
    ]
    found = read_associations(events)["conn-h"]
    assert [each.number for each in found] == ["3", "2", "1"]
    assert found[0].children[0].bytes_in == 10
    assert not found[2].established
