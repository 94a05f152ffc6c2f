"""The pure parts of attaching: which network, which plan, which files."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest

from drover.host.network.attach.configs import NetworkConfigs, plugins_of
from drover.host.network.attach.dns import hosts_with, rewrite_resolv_conf, search_domains
from drover.host.network.attach.outcome import Outcomes
from drover.host.network.attach.plan import AttachError, Plan, parse_config, plan_attachment
from drover.host.network.attach.plugins import arguments_of, to_v02
from drover.host.network.attach.wanted import Wish, wanted_network, wants_dns, wish_of
from drover.host.network.docker import Config, HostConfig, Inspect
from tests.host.network.lonely_host import CNI
from tests.host.network.worlds import network, stock, world

WISH = Wish("4f1d2c3b4a59687786", address="10.42.7.9/16", mac="02:00:01:AA:bb:cc")


def plan(wish: Wish = WISH, *, own: IPv4Address | None = None, **config: Any) -> Plan:
    return plan_attachment(parse_config(CNI | config), wish, metadata_address="169.254.169.250", bridge_own_address=own)


def inspect(mode: str = "none", **labels: str) -> Inspect:
    named = {f"io.rancher.{key.replace('__', '.')}": value for key, value in labels.items()}
    return Inspect(id="c" * 64, config=Config(labels=named), host_config=HostConfig(network_mode=mode))


# --- which network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (inspect(cni__network="ipsec"), "ipsec"),
        (inspect(container__network="true"), "managed"),
        (inspect(container__ip="10.42.0.2/16"), "managed"),
        (inspect("bridge", container__network="true"), "managed"),
        (inspect("host", container__network="true"), ""),
        (inspect("container:abc", container__ip="10.42.0.2/16"), ""),
        (inspect(container__network="false"), ""),
        (inspect(), ""),
    ],
)
def test_wanted_network(container: Inspect, expected: str) -> None:
    assert wanted_network(container) == expected


def test_wants_dns() -> None:
    assert wants_dns(inspect(cni__network="ipsec"))
    assert wants_dns(inspect("bridge", container__dns="true"))
    assert not wants_dns(inspect(cni__network="ipsec", container__dns="false"))
    assert not wants_dns(inspect("bridge"))


def test_annotations_of_kubernetes_win() -> None:
    labels = {
        "io.rancher.container.ip": "10.42.0.1/16",
        "annotation.io.rancher.container.ip": "10.42.0.2/16",
        "io.rancher.container.mac_address": "02:00:01:00:00:01",
    }
    assert wish_of("c", labels) == Wish("c", address="10.42.0.2/16", mac="02:00:01:00:00:01")


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_stock_plan() -> None:
    made = plan()
    assert made.bridge_address == IPv4Interface("10.42.0.1/16")
    assert (made.gateway, made.link_mtu, made.mac) == (IPv4Address("10.42.0.1"), 1402, "02:00:01:aa:bb:cc")
    assert made.host_interface == "vethr4f1d2c3b4a"
    assert made.promiscuous
    assert not made.hairpin


def test_an_address_without_prefix_gets_the_ipams() -> None:
    assert plan(Wish("c", address="10.42.7.9", mac="02:00:01:00:00:01")).address == IPv4Interface("10.42.7.9/16")


def test_numbers_and_switches_may_come_as_text() -> None:
    made = plan(mtu="1460", linkMTUOverhead="50", promiscMode="false", hairpinMode="true")
    assert (made.link_mtu, made.promiscuous, made.hairpin) == (1410, False, True)
    assert plan(mtu="").link_mtu is None


def test_older_templates_route_the_metadata_address_themselves() -> None:
    made = plan(ipam={"type": "rancher-cni-ipam", "routes": [{"dst": "169.254.169.250/32"}]})
    assert [str(each.destination) for each in made.routes] == ["169.254.169.250/32"]
    assert made.result()["ip4"]["routes"][-1] == {"dst": "0.0.0.0/0", "gw": "10.42.0.1"}


def test_a_flat_network() -> None:
    made = plan(
        Wish("c", address="172.22.101.7/16", mac="02:00:01:00:00:01"),
        own=IPv4Address("172.22.101.9"),
        bridge="flatbr0",
        bridgeSubnet="172.22.101.0/24",
        skipBridgeConfigureIP=True,
        ipam={"type": "rancher-flat-ipam", "routes": [{"dst": "0.0.0.0/0", "gw": "172.22.101.1"}]},
    )
    assert made.bridge_address is None
    assert not made.gateway_on_bridge
    assert made.address == IPv4Interface("172.22.101.7/24")
    assert [(str(each.destination), str(each.gateway)) for each in made.routes] == [
        ("169.254.169.250/32", "172.22.101.9")
    ]


@pytest.mark.parametrize(
    ("config", "wish", "text"),
    [
        ({"hairpinMode": True}, WISH, "hairpinMode and promiscMode"),
        ({"bridgeSubnet": "10.42"}, WISH, "is no subnet"),
        ({"bridgeIP": "10.43.0.1"}, WISH, "outside of bridgeSubnet"),
        ({"mtu": "many"}, WISH, r"\$\.mtu"),
        ({"ipam": {"routes": [{"dst": "0.0.0.0/0", "gw": "10.42.0.9"}]}}, WISH, "isDefaultGateway wants 10.42.0.1"),
        ({}, Wish("c", mac="02:00:01:00:00:01"), "has no address"),
        ({}, Wish("c", address="10.42.0.2/16"), "has no MAC address"),
        ({}, Wish("c", address="fd00::1/64", mac="02:00:01:00:00:01"), "no IPv4 address"),
    ],
)
def test_contradictions_are_explained(config: dict[str, Any], wish: Wish, text: str) -> None:
    with pytest.raises(AttachError, match=text):
        plan(wish, **config)


# --- configurations ---------------------------------------------------------------------------------------------------


def configs(folder: Path) -> NetworkConfigs:
    return NetworkConfigs(
        driver_dir=folder / "cni", user_dir=folder / "user", memory=folder / "state" / "networks.json"
    )


def test_files_win_over_the_environment_which_is_remembered(tmp_path: Path) -> None:
    known = configs(tmp_path)
    assert known.find("ipsec") == ()
    known.learn(world(*stock(own=network(bridge="br7"))))
    assert [each.content["bridge"] for each in known.find("managed")] == ["br7"]
    # After a restart, with no world yet.
    again = configs(tmp_path)
    assert [each.content["bridge"] for each in again.find("ipsec")] == ["br7"]
    # A world without networks is no reason to forget.
    again.learn(world())
    assert again.find("ipsec")
    for folder, bridge in (("user", "br8"), ("cni", "br9")):
        (tmp_path / folder / "ipsec.d").mkdir(parents=True)
        (tmp_path / folder / "ipsec.d" / "10-x.conf").write_text(json.dumps(CNI | {"bridge": bridge}))
        assert [each.content["bridge"] for each in again.find("ipsec")] == [bridge]


@pytest.mark.parametrize("name", ["../cni/ipsec", "/ipsec", ".", "..", "a/b", "a\n"])
def test_a_label_cannot_lead_to_another_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "cni" / "ipsec.d").mkdir(parents=True)
    (tmp_path / "cni" / "ipsec.d" / "10-x.conf").write_text(json.dumps(CNI))
    assert configs(tmp_path).find("ipsec")
    assert configs(tmp_path).find(name) == ()


def test_a_list_of_plugins_in_one_file() -> None:
    found = plugins_of(
        {
            "20-b.conf": {"type": "portmap"},
            "10-a.conflist": {"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}, {"type": "tuning"}]},
        }
    )
    assert [each.type for each in found] == ["bridge", "tuning", "portmap"]
    assert found[1].content == {"name": "a", "cniVersion": "1.0.0", "type": "tuning"}


# --- the exec protocol ------------------------------------------------------------------------------------------------


def test_results_of_all_versions() -> None:
    old = {"ip4": {"ip": "10.0.0.2/24"}, "dns": {}}
    assert to_v02(old) == old
    new = {
        "cniVersion": "1.0.0",
        "ips": [{"address": "fd00::2/64"}, {"address": "10.0.0.2/24", "gateway": "10.0.0.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }
    assert to_v02(new) == {
        "ip4": {"ip": "10.0.0.2/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {},
    }
    assert to_v02({"ips": []}) is None


def test_labels_cannot_add_arguments() -> None:
    arguments = arguments_of(Wish("c", uuid="u;EVIL=1", address="10.42.0.2/16"))
    assert arguments == (
        "IgnoreUnknown=1;DOCKER=true;RancherContainerUUID=uEVIL1;LinkMTUOverhead=;MACAddress=;IPAddress=10.42.0.2/16"
    )


# --- files of the container -------------------------------------------------------------------------------------------


def rewrite(text: str, labels: dict[str, str] | None = None, search: tuple[str, ...] = ()) -> str:
    named = labels or {}
    return rewrite_resolv_conf(
        text,
        server="169.254.169.250",
        search=search_domains(named, search),
        search_last=named.get("io.rancher.container.dns.priority") == "service_last",
    )


def test_resolv_conf_of_a_service_container() -> None:
    labels = {"io.rancher.stack_service.name": "Shop/Web"}
    text = rewrite("# by Docker\nsearch corp.example\nnameserver 192.0.2.53\noptions ndots:0\n", labels)
    assert text == (
        "search web.shop.rancher.internal shop.rancher.internal rancher.internal corp.example\n"
        "# by Docker\n# nameserver 192.0.2.53\noptions ndots:0\nnameserver 169.254.169.250\n"
    )
    assert rewrite(text, labels) == text


def test_search_domains_by_priority() -> None:
    labels = {"io.rancher.stack_service.name": "shop/web/side"}
    last = labels | {"io.rancher.container.dns.priority": "service_last"}
    assert rewrite("search a.example\n", last).splitlines()[0] == (
        "search a.example web.shop.rancher.internal shop.rancher.internal rancher.internal"
    )
    none = labels | {"io.rancher.container.dns.priority": "None"}
    assert rewrite("search a.example\n", none).splitlines()[0] == "search a.example"
    assert rewrite("", {}, ("b.example", "rancher.internal")).splitlines()[0] == "search b.example rancher.internal"


def test_a_label_cannot_add_a_line() -> None:
    assert search_domains({"io.rancher.stack_service.name": "a\nnameserver 192.0.2.6/b"}, ()) == ["rancher.internal"]


def test_the_hosts_line_is_there_once() -> None:
    text = hosts_with("127.0.0.1\tlocalhost\n", address="10.42.0.2", hostname="web")
    assert text == "127.0.0.1\tlocalhost\n10.42.0.2\tweb\n"
    assert hosts_with(text, address="10.42.0.2", hostname="web") == text


def test_outcomes_keep_the_last_start_only(tmp_path: Path) -> None:
    outcomes = Outcomes(tmp_path)
    outcomes.write_error("c1", "t1", "no address")
    assert outcomes.read("c1", "t1") is None
    outcomes.write("c1", "t2", {"ip4": {"ip": "10.42.0.2/16"}})
    assert [each.name for each in (tmp_path / "c1").iterdir()] == ["t2"]
    assert outcomes.read("c1", "t2") is not None
    outcomes.keep_only(["c2"])
    assert list(tmp_path.iterdir()) == []
