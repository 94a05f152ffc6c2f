"""What each kind of row looks like to the hosts, value by value."""

from __future__ import annotations

from typing import Any

import pytest

from drover.client.world import HealthCheck, LbConfig, LbRule, Membership, Stickiness
from tests.server.snapshot.rows import (
    consumption,
    container,
    environment,
    exposure,
    host,
    network,
    record,
    service,
    shown,
    stack,
    the,
)

CHECK = {
    "port": 80,
    "requestLine": "GET / HTTP/1.0",
    "interval": 2000,
    "responseTimeout": 1500,
    "healthyThreshold": 2,
    "unhealthyThreshold": 3,
    "strategy": "recreate",
    "initializingTimeout": 60000,
}
SHOWN_CHECK = HealthCheck(
    port=80,
    request_line="GET / HTTP/1.0",
    interval=2000,
    response_timeout=1500,
    healthy_threshold=2,
    unhealthy_threshold=3,
)


# Containers


def test_a_container_has_every_value_of_its_row() -> None:
    row = container(
        name="Shop-Web1-1",
        hostname="web",
        externalId="9f2c",
        primaryMacAddress="02:00:05:2a:00:01",
        labels={"a": "1", "empty": None},
        createIndex=7,
        startCount=2,
        serviceIndex="3",
        healthState="healthy",
        healthCheck=CHECK,
        memoryReservation=4194304,
        milliCpuReservation=250,
        system=True,
        dnsInternal="169.254.169.250, 8.8.8.8",
        dnsSearchInternal="web1.shop.rancher.internal,rancher.internal",
    )
    found = the("container", "instance-1", row)
    assert (found.name, found.state, found.hostname, found.external_id) == ("Shop-Web1-1", "running", "web", "9f2c")
    assert (found.primary_ip, found.ips, found.primary_mac_address) == (
        "10.42.0.1",
        ("10.42.0.1",),
        "02:00:05:2a:00:01",
    )
    assert (found.host_uuid, found.host_ip) == ("host-1", "172.16.0.1")
    assert (found.environment_uuid, found.network_uuid) == ("account-5", "network-1")
    assert found.labels == {"a": "1", "empty": ""}
    assert (found.create_index, found.start_count, found.service_index) == (7, 2, "3")
    assert (found.health_state, found.health_check) == ("healthy", SHOWN_CHECK)
    assert (found.memory_reservation, found.milli_cpu_reservation, found.system) == (4194304, 250, True)
    assert found.dns == ("169.254.169.250", "8.8.8.8")
    assert found.dns_search == ("web1.shop.rancher.internal", "rancher.internal")


@pytest.mark.parametrize("state", ["starting", "running", "stopping", "stopped", "restarting", "creating"])
def test_containers_are_shown_in_every_state_of_their_life(state: str) -> None:
    assert the("container", "instance-1", container(state=state)).state == state


@pytest.mark.parametrize("state", ["removing", "removed", "error", "erroring", "purged"])
def test_containers_that_leave_are_not_shown(state: str) -> None:
    assert the("container", "instance-1", container(state=state)) is None


def test_a_container_needs_a_host_and_a_network_that_exist() -> None:
    assert the("container", "instance-1", container(hostId=None)) is None
    assert the("container", "instance-1", container(), host(removed=1, state="removed")) is None
    assert the("container", "instance-1", container(primaryNetworkId=None)) is None
    assert the("container", "instance-1", container(), network(removed=1)) is None


def test_a_container_on_the_hosts_network_has_the_hosts_address() -> None:
    row = container(primaryNetworkId=2, primaryIpAddress=None)
    found = the("container", "instance-1", row, network(2, kind="dockerHost"))
    assert (found.primary_ip, found.ips) == ("172.16.0.1", ("172.16.0.1",))


def test_a_container_in_anothers_network_has_no_address() -> None:
    sidekick = container(2, networkContainerId=1, primaryIpAddress="10.42.0.1")
    found = the("container", "instance-2", container(1), sidekick)
    assert (found.primary_ip, found.ips, found.network_from_container_uuid) == (None, (), "instance-1")


@pytest.mark.parametrize(
    ("ports", "published", "expected"),
    [
        (["80:8080/tcp"], None, ("80:8080/tcp",)),
        (["8080/tcp"], ["0.0.0.0:49153:8080/tcp"], ("49153:8080/tcp",)),
        (["10.0.0.1:80:8080/udp"], ["10.0.0.1:80:8080/udp"], ("10.0.0.1:80:8080/udp",)),
        (["8080"], ["0.0.0.0::8080/tcp"], ("8080/tcp",)),
        (None, None, ()),
    ],
)
def test_ports_are_shown_as_published(ports: list[str], published: list[str], expected: tuple[str, ...]) -> None:
    assert the("container", "instance-1", container(ports=ports, publishedPorts=published)).ports == expected


def test_links_lead_to_containers_that_exist() -> None:
    row = container(1, instanceLinks={"db": 2, "gone": 9, "open": None})
    assert the("container", "instance-1", row, container(2)).links == {"db": "instance-2"}
    changed = record("instanceLink", 1, instanceId=1, linkName="db", targetInstanceId=3)
    assert the("container", "instance-1", row, container(2), container(3), changed).links == {"db": "instance-3"}


def test_a_container_knows_who_checks_its_health() -> None:
    votes = [
        record("healthcheckInstanceHostMap", number, instanceId=1, hostId=host_id, state=state)
        for number, (host_id, state) in enumerate([(2, "active"), (1, "active"), (2, "active"), (3, "removed")])
    ]
    found = the("container", "instance-1", container(), host(2), host(3), *votes)
    assert found.health_check_hosts == ("host-1", "host-2")


def test_a_container_is_a_member_once_for_each_place() -> None:
    maps = [
        exposure(1, service_id=1, instance_id=1, dnsPrefix="data"),
        exposure(2, service_id=2, instance_id=1),
        exposure(3, service_id=2, instance_id=1),
        exposure(4, service_id=2, instance_id=1, removed=1, state="removed", dnsPrefix="old"),
    ]
    found = the("container", "instance-1", container(), service(1), service(2), *maps)
    assert found.memberships == (Membership("service-1", "data"), Membership("service-2", "Web2"))


# Services


def test_a_service_has_every_value_of_its_row() -> None:
    row = service(
        scale=2,
        createIndex=5,
        system=True,
        fqdn="web.example.com",
        vip="169.254.64.3",
        token="secret",
        metadata={"a": [1, {"b": None}]},
        launchConfig={"ports": ["80:80/tcp"], "expose": ["81"], "labels": {"x": "y"}, "healthCheck": CHECK},
    )
    found = the("service", "service-1_web1", row)
    assert (found.uuid, found.name, found.kind, found.state) == ("service-1", "Web1", "service", "active")
    assert (found.stack_uuid, found.stack_name, found.environment_uuid) == ("stack-1", "Shop", "account-5")
    assert (found.primary_service_name, found.sidekicks, found.scale, found.create_index) == ("Web1", (), 2, 5)
    assert (found.system, found.fqdn, found.token) == (True, "web.example.com", "secret")
    assert (found.vip, found.hostname, found.external_ips) == (None, None, ())
    assert (found.ports, found.expose, found.labels) == (("80:80/tcp",), ("81",), {"x": "y"})
    assert (found.health_check, found.metadata, found.lb_config) == (SHOWN_CHECK, {"a": [1, {"b": None}]}, None)


def test_the_desired_scale_is_shown_when_there_is_one() -> None:
    assert the("service", "service-1_web1", service(scale=2, desiredScale=5)).scale == 5
    assert the("service", "service-1_web1", service(scale=2, desiredScale=0)).scale == 0


@pytest.mark.parametrize(
    ("values", "vip"),
    [
        ({"assignServiceIpAddress": True}, "169.254.64.3"),
        ({"kind": "kubernetesService"}, "169.254.64.3"),
        ({"assignServiceIpAddress": False}, None),
    ],
)
def test_a_virtual_address_is_shown_to_those_who_asked_for_it(values: dict[str, Any], vip: str | None) -> None:
    assert the("service", "service-1_web1", service(vip="169.254.64.3", **values)).vip == vip


def test_each_sidekick_is_an_object_of_its_own() -> None:
    row = service(
        metadata={"shared": True},
        launchConfig={"labels": {"of": "primary"}},
        secondaryLaunchConfigs=[{"name": "Data", "labels": {"of": "data"}, "expose": ["5"]}, {"name": "Log"}],
    )
    objects = shown(row)
    primary, data = objects[("service", "service-1_web1")], objects[("service", "service-1_data")]
    assert primary.sidekicks == data.sidekicks == ("Data", "Log")
    assert (data.uuid, data.name, data.primary_service_name) == ("service-1", "Data", "Web1")
    assert (primary.labels, data.labels, data.expose) == ({"of": "primary"}, {"of": "data"}, ("5",))
    assert data.metadata == {"shared": True}
    assert ("service", "service-1_log") in objects


def test_an_external_service_has_its_own_fields() -> None:
    values: dict[str, Any] = {"externalIpAddresses": ["1.2.3.4"], "hostname": "example.com", "healthCheck": CHECK}
    found = the("service", "service-1_web1", service(kind="externalService", launchConfig=None, **values))
    assert (found.external_ips, found.hostname, found.health_check) == (("1.2.3.4",), "example.com", SHOWN_CHECK)
    other = the("service", "service-1_web1", service(**values))
    assert (other.external_ips, other.hostname, other.health_check) == ((), None, None)


@pytest.mark.parametrize("state", ["inactive", "registering", "upgraded", "removing", "updating-active"])
def test_services_are_shown_in_every_state_until_they_are_removed(state: str) -> None:
    assert the("service", "service-1_web1", service(state=state)).state == state
    assert the("service", "service-1_web1", service(state="removed", removed=1)) is None


@pytest.mark.parametrize("checked", [True, False])
def test_the_service_ipsec_knows_whether_it_is_checked(checked: bool) -> None:
    row = service(name="ipsec", metadata={"mine": 1})
    found = the("service", "service-1_ipsec", row, ipsec_checked=checked)
    assert found.metadata == {"mine": 1, "ipsec.service.enable.healthcheck": checked}


def test_links_are_named_by_what_they_lead_to() -> None:
    links = [
        consumption(1, service_id=1, consumedServiceId=2),
        consumption(2, service_id=1, consumedServiceId=3, name="db"),
        consumption(3, service_id=1, consumedService="Prod/Shop/Mail", name="mail"),
        consumption(4, service_id=1, consumedServiceId=9, name="nowhere"),
        consumption(5, service_id=1, consumedServiceId=3, name="old", state="removed", removed=1),
    ]
    found = the("service", "service-1_web1", service(1), service(2), service(3), *links)
    assert found.links == {"Shop/Web2": "Web2", "Shop/Web3": "db", "Prod/Shop/Mail": "mail"}


def test_a_balancers_rules_name_services_and_certificates() -> None:
    config = {
        "certificateIds": [2, 9],
        "defaultCertificateId": 1,
        "config": "defaults\n",
        "stickinessPolicy": {"name": "p", "cookie": "c", "indirect": True, "mode": "insert"},
        "portRules": [
            {"sourcePort": 80, "protocol": "http", "serviceId": 2, "targetPort": 8080, "hostname": "a.b", "path": "/x"},
            {"sourcePort": 81, "selector": "a=b", "environment": "Prod", "region": "EU", "weight": 5, "priority": 1},
            {"sourcePort": 82, "serviceId": 9, "targetPort": 1},
        ],
    }
    row = service(1, kind="loadBalancerService", lbConfig=config)
    certificates = [record("certificate", 1, name="main"), record("certificate", 2, name="other")]
    found = the("service", "service-1_web1", row, service(2), *certificates)
    first = LbRule(80, "http", "/x", "a.b", "Shop/Web2", 8080, weight=1)
    second = LbRule(source_port=81, selector="a=b", region="eu", environment="prod", weight=5, priority=1)
    assert found.lb_config == LbConfig(
        certs=("other",),
        default_cert="main",
        config="defaults\n",
        stickiness_policy=Stickiness(name="p", cookie="c", indirect=True, mode="insert"),
        port_rules=(first, second),
    )


def test_a_target_shows_its_rules_without_source_port() -> None:
    rules = {"portRules": [{"targetPort": 8080, "hostname": "a.b", "backendName": "blue", "weight": 0}]}
    found = the("service", "service-1_web1", service(lbConfig=rules))
    assert found.lb_config.port_rules == (LbRule(hostname="a.b", target_port=8080, backend_name="blue", weight=0),)


# Everything else


def test_a_host_has_every_value_of_its_row() -> None:
    row = host(labels={"zone": "a"}, memory=8 << 30, milliCpu=4000, localStorageMb=1000, agentState="reconnecting")
    found = the("host", "host-1", row)
    assert (found.name, found.hostname, found.agent_ip, found.hostId) == ("host1", "h1.example", "172.16.0.1", 1)
    assert (found.state, found.agent_state, found.labels) == ("active", "reconnecting", {"zone": "a"})
    assert (found.memory, found.milli_cpu, found.local_storage_mb) == (8 << 30, 4000, 1000)
    assert found.environment_uuid == "account-5"


def test_a_host_without_a_name_goes_by_its_hostname() -> None:
    assert the("host", "host-1", host(name=None)).name == "h1.example"


@pytest.mark.parametrize("values", [{"agentIpAddress": None}, {"state": "removing"}, {"removed": 1}])
def test_some_hosts_are_not_shown(values: dict[str, Any]) -> None:
    assert the("host", "host-1", host(**values)) is None


def test_a_network_tells_the_truth_about_itself() -> None:
    rules = [{"within": "stack", "action": "allow"}]
    other = network(2, name="b", hostPorts=False, metadata={"cniConfig": {"a": {}}}, policy=rules)
    objects = shown(other)
    default = objects[("network", "network-1")]
    assert (default.is_default, default.host_ports) == (True, True)
    second = the("network", "network-2", other)
    assert (second.is_default, second.host_ports, second.metadata) == (False, False, {"cniConfig": {"a": {}}})
    assert (second.policy, second.environment_uuid) == (rules, "account-5")
    assert the("network", "network-1", network(hostPorts=False)).is_default is True


def test_a_stack_names_its_environment() -> None:
    found = the("stack", "stack-1", stack(system=True))
    assert (found.name, found.system) == ("Shop", True)
    assert (found.environment_uuid, found.environment_name) == ("account-5", "Default")
    assert the("stack", "stack-1", stack(removed=1)) is None


def test_the_environment_is_one_object_with_the_region() -> None:
    found = the("environment", "account-5", environment(name="Prod"), region="eu")
    assert (found.name, found.region_name) == ("Prod", "eu")
    assert [key for key in shown() if key[0] == "environment"] == [("environment", "account-5")]
