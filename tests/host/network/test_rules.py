"""Host rules as text: the documented vectors, and what they leave open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from drover.client.world import Container, Environment, Full, Host, Membership, Network, Service, World
from drover.host.network.attach.configs import substitute_host_labels
from drover.host.network.attach.plan import link_mtu, parse_config
from drover.host.network.names import host_veth
from drover.host.network.rules.nat import forward_rules, guard_rules, hooks, nat_rules
from drover.host.network.rules.networks import bridged_networks, local_networks
from drover.host.network.rules.ports import host_ports, port_rules
from drover.host.network.rules.tables import Dump, Hook, hook_repair, parse_dump, removal

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text())
METADATA = "169.254.169.250"


def world_of(vector: dict[str, Any]) -> World:
    world = World()
    networks = [
        Network(uuid=each["uuid"], name=each["name"], host_ports=each["host_ports"], metadata=each["metadata"])
        for each in vector["networks"]
    ]
    containers = [
        Container(
            uuid=f"c{number}",
            external_id=each["external_id"],
            host_uuid=each["host_uuid"],
            state=each["state"],
            primary_ip=each["primary_ip"] or None,
            ports=tuple(port for port in each["ports"] if _is_whole(port)),
            system=each["system"],
            labels=each["labels"],
            network_uuid=each["network_uuid"],
        )
        for number, each in enumerate(vector["containers"])
    ]
    host = Host(uuid=vector["hostUuid"])
    world.apply(Full(epoch="e", revision=1, objects=(host, *networks, *containers), host=host.uuid))
    return world


def _is_whole(port: str) -> bool:
    """The vectors show ports as the metadata tree does, always with an address, and ignore those without one.

    On the wire an address is left out when it is every address; what the tree would ignore cannot occur there.
    """
    return port.count(":") == 2


@pytest.mark.parametrize("vector", VECTORS["hostRules"], ids=lambda each: each["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    world = world_of(vector)
    networks = bridged_networks(world)
    local = tuple(networks.values()) if "localNetworks" not in vector else ()
    ports, _ = host_ports(world, networks, started={})
    port = int(vector.get("metadataListenPort", 80))
    owner = port_rules(ports, metadata_address=METADATA, metadata_port=port)
    expected = vector["expect"]
    assert sorted(owner.rules("raw")) == sorted(expected["raw"])
    assert sorted(owner.rules("nat")) == sorted(expected["nat"])
    assert forward_rules(local, docker_bridge=vector["dockerBridge"]).rules("filter") == expected["filter"]
    assert nat_rules(networks.values(), metadata_address=METADATA).rules("nat") == expected["hostnat"]


@pytest.mark.parametrize("vector", VECTORS["linkMtu"])
def test_link_mtu(vector: dict[str, Any]) -> None:
    config = parse_config({"mtu": vector["mtu"], "linkMTUOverhead": vector["linkMTUOverhead"]})
    expected = None if vector["result"] == "unchanged" else vector["result"]
    assert link_mtu(config, vector["label"] or "") == expected


def test_host_veth() -> None:
    for vector in VECTORS["hostVeth"]:
        assert host_veth(vector["containerId"]) == vector["name"]


@pytest.mark.parametrize("vector", VECTORS["hostLabelSubstitution"], ids=lambda each: each["value"])
def test_host_labels(vector: dict[str, Any]) -> None:
    assert substitute_host_labels({"a": [vector["value"]]}, vector["labels"]) == {"a": [vector["result"]]}


# --- conflicts --------------------------------------------------------------------------------------------------------


def publishing(uuid: str, *ports: str, address: str, created: int = 0) -> Container:
    return Container(
        uuid=uuid,
        external_id=f"docker-{uuid}",
        host_uuid="h1",
        state="running",
        primary_ip=address,
        ports=ports,
        network_uuid="n1",
        create_index=created,
    )


def network(**config: Any) -> Network:
    values = {"type": "rancher-bridge", "bridge": "docker0", "bridgeSubnet": "10.42.0.0/16", "hostNat": True} | config
    return Network(uuid="n1", name="ipsec", host_ports=True, metadata={"cniConfig": {"10-rancher.conf": values}})


def world(*objects: Any) -> World:
    made = World()
    made.apply(Full(epoch="e", revision=1, objects=(Host(uuid="h1"), Environment(uuid="env"), *objects), host="h1"))
    return made


def test_the_container_that_started_first_keeps_a_port() -> None:
    first = publishing("b", "0.0.0.0:80:80/tcp", address="10.42.0.7")
    second = publishing("a", "0.0.0.0:80:80/tcp", "0.0.0.0:81:80/tcp", address="10.42.0.8")
    seen = world(network(), second, first)
    started = {"docker-a": "2026-01-01T00:00:02Z", "docker-b": "2026-01-01T00:00:01Z"}
    ports, conflicts = host_ports(seen, bridged_networks(seen), started=started)
    assert {(each.port, each.target) for each in ports} == {(80, "10.42.0.7"), (81, "10.42.0.8")}
    assert [(each.wanted.container, each.holder) for each in conflicts] == [("a", "b")]


def test_a_binding_to_one_address_goes_before_one_to_all() -> None:
    seen = world(
        network(),
        publishing("a", "0.0.0.0:80:80/tcp", address="10.42.0.7"),
        publishing("b", "192.0.2.1:80:80/tcp", address="10.42.0.8"),
    )
    ports, conflicts = host_ports(seen, bridged_networks(seen), started={})
    assert [each.address for each in ports] == ["192.0.2.1", "0.0.0.0"]
    assert conflicts == ()


@pytest.mark.parametrize(
    "port",
    ["0.0.0.0:80:80/tcp\n-F", "0.0.0.0:70000:80/tcp", "x:80:80", "0.0.0.0:80:0", "0.0.0.0:a:b", "0.0.0.0:80:80/sctp"],
)
def test_unusable_ports_make_no_rules(port: str) -> None:
    seen = world(network(), publishing("a", port, address="10.42.0.7"))
    assert host_ports(seen, bridged_networks(seen), started={}) == ((), ())


def test_names_that_are_no_interfaces_stay_out_of_the_rules() -> None:
    seen = world(network(bridge="docker0 -j ACCEPT\n-A"))
    assert [each.bridge for each in bridged_networks(seen).values()] == [""]


# --- local networks ---------------------------------------------------------------------------------------------------


def driver(*services: Service) -> tuple[Any, ...]:
    return (Service(uuid="d", name="cni-driver", kind="networkDriverService", stack_uuid="s"), *services)


def router(host: str = "h1") -> Container:
    return Container(
        uuid="r", host_uuid=host, network_uuid="n1", memberships=(Membership(service_uuid="r", service_name="ipsec"),)
    )


def test_a_network_is_local_where_its_router_is() -> None:
    service = Service(uuid="r", name="ipsec", stack_uuid="s", primary_service_name="ipsec")
    assert [each.name for each in local_networks(world(network(), *driver(service), router()))] == ["ipsec"]
    assert local_networks(world(network(), *driver(service), router("h2"))) == ()
    assert local_networks(world(network(), service, router())) == ()


# --- hooks ------------------------------------------------------------------------------------------------------------


def apply_repair(dump: Dump, document: str) -> Dump:
    """What the kernel does with a document of inserts and deletes."""
    tables = {table: {chain: list(rules) for chain, rules in chains.items()} for table, chains in dump.tables.items()}
    table = ""
    for line in document.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-I"):
            _, chain, number, rule = line.split(" ", 3)
            tables[table].setdefault(chain, []).insert(int(number) - 1, rule)
        elif line.startswith("-D"):
            _, chain, number = line.split(" ")
            del tables[table][chain][int(number) - 1]
    return Dump({table: {chain: tuple(rules) for chain, rules in chains.items()} for table, chains in tables.items()})


HOOKS = (
    Hook("filter", "FORWARD", "-s S -d S -j CATTLE_NETWORK_POLICY"),
    Hook("filter", "FORWARD", "-j CATTLE_FORWARD"),
)


@pytest.mark.parametrize(
    "present",
    [
        [],
        ["-j DOCKER-USER"],
        ["-j DOCKER-USER", "-s S -d S -j CATTLE_NETWORK_POLICY", "-j CATTLE_FORWARD"],
        ["-j CATTLE_FORWARD", "-s S -d S -j CATTLE_NETWORK_POLICY", "-j X"],
        ["-j CATTLE_FORWARD", "-j X", "-j CATTLE_FORWARD", "-s T -d T -j CATTLE_NETWORK_POLICY"],
    ],
)
def test_hooks_come_first_and_once(present: Sequence[str]) -> None:
    dump = Dump({"filter": {"FORWARD": tuple(present)}})
    repaired = apply_repair(dump, hook_repair(dump, HOOKS))
    others = [rule for rule in present if "CATTLE" not in rule]
    assert repaired.tables["filter"]["FORWARD"] == (*(hook.rule for hook in HOOKS), *others)
    assert hook_repair(repaired, HOOKS) == ""


def test_hooks_are_inserted_before_they_are_deleted() -> None:
    dump = Dump({"filter": {"FORWARD": ("-j X", "-j CATTLE_FORWARD")}})
    lines = [line for line in hook_repair(dump, HOOKS[1:]).splitlines() if line.startswith("-")]
    assert [line[:2] for line in lines] == ["-I", "-D"]


def test_a_hook_that_is_no_longer_wanted_goes() -> None:
    dump = Dump({"filter": {"FORWARD": ("-s S -d S -j CATTLE_NETWORK_POLICY", "-j CATTLE_FORWARD")}})
    repaired = apply_repair(dump, hook_repair(dump, HOOKS[1:]))
    assert repaired.tables["filter"]["FORWARD"] == ("-j CATTLE_FORWARD",)


def test_the_policy_hook_needs_exactly_one_local_network() -> None:
    one = tuple(bridged_networks(world(network())).values())
    assert any("CATTLE_NETWORK_POLICY" in hook.rule for hook in hooks(one))
    assert not any("CATTLE_NETWORK_POLICY" in hook.rule for hook in hooks(()))
    assert not any("CATTLE_NETWORK_POLICY" in hook.rule for hook in hooks(one + one))


def test_loopback_is_closed_to_the_bridges_neighbours() -> None:
    rules = guard_rules(bridged_networks(world(network())).values()).rules("filter")
    assert rules == ["-A CATTLE_INPUT -i docker0 -d 127.0.0.0/8 -m conntrack ! --ctstate DNAT -j DROP"]


def test_a_removal_names_everything_of_ours_and_nothing_else() -> None:
    dump = parse_dump(
        "*filter\n:FORWARD DROP [0:0]\n:CATTLE_FORWARD - [0:0]\n:DOCKER - [0:0]\n"
        "-A FORWARD -j CATTLE_FORWARD\n-A FORWARD -j DOCKER\n-A CATTLE_FORWARD -j ACCEPT\nCOMMIT\n"
    )
    assert removal(dump) == "*filter\n-D FORWARD 1\n-F CATTLE_FORWARD\n-X CATTLE_FORWARD\nCOMMIT\n"
    assert removal(parse_dump("*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER\nCOMMIT\n")) == ""
