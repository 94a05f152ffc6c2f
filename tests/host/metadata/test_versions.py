"""The same environment in the three versions of the tree, and who sees what as `self`."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from drover.client.world import Container, Stack
from tests.host.metadata.asking import ALONE_IP, NOBODY_IP, WEB_1_IP, WEB_2_IP, Asker
from tests.host.metadata.shop import ALONE, HOST_1, OBJECTS, ON_HOST, WEB_1

VERSIONS = ("2015-07-25", "2015-12-19", "2016-07-29")


@pytest.fixture(scope="module")
def shop() -> Asker:
    return Asker(client=WEB_1_IP)


def side_by_side(shop: Asker, path: str) -> list[Any]:
    return [shop.json(f"/{version}/{path}") for version in VERSIONS]


@pytest.mark.parametrize(
    ("path", "as_created", "lowered"),
    [
        ("self/container/name", "Shop-Web-1", "shop-web-1"),
        ("self/container/service_name", "Web", "web"),
        ("self/container/stack_name", "Shop", "shop"),
        ("self/container/links", {"Cache": "container-9"}, {"Cache": "container-9"}),
        ("self/container/labels/Mixed", "Case", "Case"),
        ("self/service/name", "Web", "web"),
        ("self/service/stack_name", "Shop", "shop"),
        ("self/service/primary_service_name", "Web", "web"),
        ("self/service/sidekicks", ["Data"], ["data"]),
        ("self/service/links", {"Shop/Db": "DB", "other/api": "Api"}, {"shop/db": "DB", "other/api": "Api"}),
        ("self/stack/name", "Shop", "shop"),
        ("self/stack/environment_name", "Default", "Default"),
        ("name", "default", "default"),
        ("region_name", "north", "north"),
    ],
)
def test_letter_case(shop: Asker, path: str, as_created: object, lowered: object) -> None:
    assert side_by_side(shop, path) == [as_created, as_created, lowered]


def test_published_ports(shop: Asker) -> None:
    older = ["192.0.2.1:8080:80/tcp", "192.0.2.1:8443:443/tcp", "203.0.113.5:53:53/udp", "9000/tcp"]
    newest = ["0.0.0.0:8080:80/tcp", "0.0.0.0:8443:443/tcp", "203.0.113.5:53:53/udp", "9000/tcp"]
    assert side_by_side(shop, "self/container/ports") == [older, older, newest]


def test_the_oldest_lists_names(shop: Asker) -> None:
    oldest, older, newest = side_by_side(shop, "self/service/containers")
    assert oldest == ["Shop-Web-1", "Shop-Web-2"]
    assert [each["uuid"] for each in older] == [each["uuid"] for each in newest] == ["container-1", "container-2"]
    oldest, older, newest = side_by_side(shop, "self/stack/services")
    assert oldest == ["Db", "lb", "Web", "Data"]
    assert [each["name"] for each in older] == oldest
    assert [each["name"] for each in newest] == ["db", "lb", "web", "data"]
    assert shop.text("/2015-07-25/self/stack/services") == "0\n1\n2\n3\n"


def test_the_number_of_a_host_is_shown_before_2016(shop: Asker) -> None:
    assert [each.get("hostId") for each in side_by_side(shop, "self/host")] == [7, 7, None]
    assert "hostId" not in shop.json("/latest/self/host")


def test_latest_is_the_newest(shop: Asker) -> None:
    assert shop.json("/latest") == shop.json("/2016-07-29")


def test_every_field_of_a_container(shop: Asker) -> None:
    assert shop.json("/latest/self/container") == {
        "create_index": 1,
        "dns": ["169.254.169.250"],
        "dns_search": ["shop.rancher.internal", "web.shop.rancher.internal", "rancher.internal"],
        "environment_uuid": "env-1",
        "external_id": "9f2c",
        "health_check": None,
        "health_check_hosts": ["host-1", "host-2"],
        "health_state": "healthy",
        "host_uuid": "host-1",
        "hostname": None,
        "ips": ["10.42.0.11"],
        "labels": {"Mixed": "Case", "io.rancher.stack_service.name": "Shop/Web"},
        "links": {"Cache": "container-9"},
        "memory_reservation": None,
        "metadata_kind": "container",
        "milli_cpu_reservation": None,
        "name": "shop-web-1",
        "network_from_container_uuid": None,
        "network_uuid": "net-1",
        "ports": ["0.0.0.0:8080:80/tcp", "0.0.0.0:8443:443/tcp", "203.0.113.5:53:53/udp", "9000/tcp"],
        "primary_ip": "10.42.0.11",
        "primary_mac_address": "02:aa:bb:00:11:22",
        "service_index": "1",
        "service_name": "web",
        "service_uuid": "service-1",
        "stack_name": "shop",
        "stack_uuid": "stack-1",
        "start_count": 1,
        "state": "running",
        "system": False,
        "uuid": "container-1",
    }


def test_every_field_of_a_load_balancer(shop: Asker) -> None:
    assert shop.json("/latest/services/lb") == {
        "containers": None,
        "create_index": None,
        "environment_uuid": "env-1",
        "expose": [],
        "external_ips": [],
        "fqdn": None,
        "health_check": None,
        "hostname": None,
        "kind": "loadBalancerService",
        "labels": {},
        "lb_config": {
            "certs": [],
            "config": None,
            "default_cert": None,
            "port_rules": [
                {
                    "backend_name": None,
                    "environment": None,
                    "hostname": None,
                    "path": None,
                    "priority": None,
                    "protocol": "http",
                    "region": None,
                    "selector": None,
                    "service": "Shop/Web",
                    "source_port": 80,
                    "target_port": 80,
                    "weight": 1,
                }
            ],
            "stickiness_policy": None,
        },
        "links": None,
        "metadata": {},
        "metadata_kind": "service",
        "name": "lb",
        "ports": [],
        "primary_service_name": "lb",
        "scale": None,
        "sidekicks": [],
        "stack_name": "shop",
        "stack_uuid": "stack-1",
        "state": "active",
        "system": False,
        "token": None,
        "uuid": "service-3",
        "vip": None,
    }


def test_every_field_of_a_host_a_network_and_a_stack(shop: Asker) -> None:
    assert shop.json("/2015-12-19/hosts/one") == {
        "agent_ip": "192.0.2.1",
        "agent_state": None,
        "environment_uuid": "env-1",
        "hostId": 7,
        "hostname": "one.example",
        "labels": {"zone": "a"},
        "local_storage_mb": None,
        "memory": 8_000_000_000,
        "metadata_kind": "host",
        "milli_cpu": 4000,
        "name": "one",
        "state": "active",
        "uuid": "host-1",
    }
    assert shop.json("/latest/hosts/two.example")["uuid"] == "host-2"
    network = shop.json("/latest/networks/ipsec")
    assert (network["is_default"], network["host_ports"]) == (True, True)
    assert set(network) == {
        "default_policy_action",
        "environment_uuid",
        "host_ports",
        "is_default",
        "metadata",
        "metadata_kind",
        "name",
        "policy",
        "uuid",
    }
    assert shop.json("/latest/stacks/empty") == {
        "environment_name": "Default",
        "environment_uuid": "env-1",
        "metadata_kind": "stack",
        "name": "empty",
        "services": None,
        "system": False,
        "uuid": "stack-2",
    }


def test_self_of_a_service_container(shop: Asker) -> None:
    me = shop.json("/latest/self")
    assert {name: each["uuid"] for name, each in me.items()} == {
        "container": "container-1",
        "service": "service-1",
        "stack": "stack-1",
        "host": "host-1",
    }
    assert me["service"]["name"] == "web"


def test_self_on_another_host(shop: Asker) -> None:
    assert shop.text("/latest/self/container/name", client=WEB_2_IP) == "shop-web-2"
    assert shop.text("/latest/self/host/uuid", client=WEB_2_IP) == "host-2"


def test_a_sidekick_shares_the_address_and_sees_the_other_as_itself(shop: Asker) -> None:
    sidekick = shop.json("/latest/containers/shop-web-data-1")
    assert (sidekick["primary_ip"], sidekick["ips"]) == (None, [])
    assert sidekick["network_from_container_uuid"] == shop.text("/latest/self/container/uuid")
    assert (sidekick["service_name"], sidekick["service_uuid"]) == ("data", "service-1")
    assert shop.json("/latest/services/data")["primary_service_name"] == "web"


def test_self_of_a_standalone_container(shop: Asker) -> None:
    assert shop.text("/latest/self", client=ALONE_IP) == "container/\nhost/\n"
    alone = shop.json("/latest/self/container", client=ALONE_IP)
    assert [alone[name] for name in ("service_name", "service_uuid", "stack_name", "stack_uuid")] == [None] * 4
    assert shop.answer("/latest/self/service", client=ALONE_IP).status == 404


def test_who_is_unknown_sees_the_host_alone(shop: Asker) -> None:
    assert shop.json("/latest/self", client=NOBODY_IP) == {"host": shop.json("/latest/hosts/one")}


def test_a_container_on_the_hosts_network_is_known_by_the_hosts_address(shop: Asker) -> None:
    assert shop.text("/latest/self/container/uuid", client="192.0.2.2") == ON_HOST.uuid


def test_equal_addresses_have_a_winner_that_does_not_change() -> None:
    here = Container(
        uuid="z", name="z", state="running", environment_uuid="env-1", host_uuid="host-1", primary_ip="10.9"
    )
    elsewhere = msgspec.structs.replace(here, uuid="a", host_uuid="host-2")
    foreign = msgspec.structs.replace(here, uuid="b", environment_uuid="env-2")
    stopped = msgspec.structs.replace(here, uuid="c", state="stopped")
    twin = msgspec.structs.replace(here, uuid="y")
    asker = Asker(client="10.9")
    for order in ([here, elsewhere, foreign, stopped], [stopped, foreign, elsewhere, here]):
        asker.change(*OBJECTS, *order)
        assert asker.text("/latest/self/container/uuid") == "z"
    asker.change(*OBJECTS, here, elsewhere, twin)
    assert asker.text("/latest/self/container/uuid") == "y"


def test_a_token_is_shown_to_its_own_service_alone(shop: Asker) -> None:
    assert shop.text("/latest/self/service/token") == "secret-of-web"
    for version in VERSIONS:
        assert shop.text(f"/{version}/self/service/token") == "secret-of-web"
        for client in (WEB_1_IP, ALONE_IP, NOBODY_IP):
            tree = shop.json(f"/{version}", client=client)
            tree["self"].pop("service", None)
            assert b"secret-of" not in msgspec.json.encode(tree)


def test_the_order_is_by_stack_service_and_creation(shop: Asker) -> None:
    names = [each["name"] for each in shop.json("/latest/containers")]
    assert names == ["shop-web-data-1", "shop-web-1", "shop-web-2", "alone", "agent"]
    backwards = Asker(client=WEB_1_IP)
    backwards.change(*reversed(OBJECTS))
    assert backwards.json("/latest") == shop.json("/latest")


def test_the_version_is_that_of_the_contents() -> None:
    one, two = Asker(), Asker()
    two.change(*reversed(OBJECTS))
    version = one.text("/latest/version")
    assert two.text("/2015-07-25/version", client=WEB_1_IP) == version
    restarted = msgspec.structs.replace(WEB_1, start_count=2)
    one.change(*(restarted if each is WEB_1 else each for each in OBJECTS))
    assert one.text("/latest/version") != version
    one.change(*OBJECTS)
    assert one.text("/latest/version") == version
    one.change(*OBJECTS, Stack(uuid="s", name="s"))
    assert one.text("/latest/version") != version


def test_a_container_of_two_services_is_shown_in_both() -> None:
    """A selector takes in containers of other services; the first membership is the container's own."""
    asker = Asker()
    both = msgspec.structs.replace(ALONE, memberships=(*WEB_1.memberships, _membership("service-3", "lb")))
    asker.change(*(both if each is ALONE else each for each in OBJECTS))
    assert [each["uuid"] for each in asker.json("/latest/services/lb")["containers"]] == [ALONE.uuid]
    assert ALONE.uuid in [each["uuid"] for each in asker.json("/latest/services/web")["containers"]]
    assert asker.text("/latest/containers/alone/service_name") == "web"


def _membership(service_uuid: str, service_name: str) -> Any:
    return type(WEB_1.memberships[0])(service_uuid=service_uuid, service_name=service_name)


def test_the_own_host_is_remembered() -> None:
    assert Asker().text("/latest/self/host/uuid") == HOST_1.uuid
