"""A small environment with one of everything that the metadata service treats differently."""

from __future__ import annotations

from drover.client.world import (
    Container,
    Environment,
    Full,
    HealthCheck,
    Host,
    LbConfig,
    LbRule,
    Membership,
    Network,
    Object,
    Service,
    Stack,
    World,
)

ENVIRONMENT = Environment(uuid="env-1", name="Default", region_name="North")
HOST_1 = Host(
    uuid="host-1",
    name="one",
    hostname="one.example",
    agent_ip="192.0.2.1",
    state="active",
    environment_uuid="env-1",
    labels={"zone": "a"},
    memory=8_000_000_000,
    milli_cpu=4000,
    hostId=7,
)
HOST_2 = Host(uuid="host-2", hostname="two.example", agent_ip="192.0.2.2", state="active", environment_uuid="env-1")
MANAGED = Network(
    uuid="net-1",
    name="ipsec",
    environment_uuid="env-1",
    is_default=True,
    host_ports=True,
    metadata={"cniConfig": {"10-rancher.conf": {"name": "rancher-cni-network", "type": "rancher-bridge"}}},
    default_policy_action="allow",
)
SHOP = Stack(uuid="stack-1", name="Shop", environment_uuid="env-1", environment_name="Default")
EMPTY = Stack(uuid="stack-2", name="Empty", environment_uuid="env-1", environment_name="Default")
WEB = Service(
    uuid="service-1",
    name="Web",
    state="active",
    environment_uuid="env-1",
    stack_uuid="stack-1",
    stack_name="Shop",
    primary_service_name="Web",
    sidekicks=("Data",),
    scale=2,
    ports=("8080:80/tcp",),
    labels={"Team": "A", "io.rancher.sidekicks": "Data"},
    links={"Shop/Db": "DB", "other/api": "Api"},
    metadata={
        "greeting": "hi <there> & you",
        "ratio": 0.25,
        "count": 3,
        "enabled": True,
        "nothing": None,
        "a/b c:d": "escaped",
        "users": [{"name": "ann", "role": "admin"}, {"uuid": "u-2"}, {"role": "none"}, ["x"], 7],
    },
    health_check=HealthCheck(port=80, request_line='GET "/health" "HTTP/1.0"', interval=2000),
    token="secret-of-web",
)
DATA = Service(
    uuid="service-1",
    name="Data",
    state="active",
    environment_uuid="env-1",
    stack_uuid="stack-1",
    stack_name="Shop",
    primary_service_name="Web",
    sidekicks=("Data",),
    token="secret-of-web",
)
DB = Service(
    uuid="service-2",
    name="Db",
    state="active",
    environment_uuid="env-1",
    stack_uuid="stack-1",
    stack_name="Shop",
    primary_service_name="Db",
    kind="externalService",
    external_ips=("198.51.100.7",),
    token="secret-of-db",
)
LB = Service(
    uuid="service-3",
    name="lb",
    kind="loadBalancerService",
    state="active",
    environment_uuid="env-1",
    stack_uuid="stack-1",
    stack_name="Shop",
    primary_service_name="lb",
    lb_config=LbConfig(port_rules=(LbRule(source_port=80, protocol="http", service="Shop/Web", target_port=80),)),
)
WEB_1 = Container(
    uuid="container-1",
    name="Shop-Web-1",
    state="running",
    environment_uuid="env-1",
    host_uuid="host-1",
    host_ip="192.0.2.1",
    external_id="9f2c",
    primary_ip="10.42.0.11",
    primary_mac_address="02:aa:bb:00:11:22",
    ips=("10.42.0.11",),
    ports=("8080:80/tcp", "0.0.0.0:8443:443/tcp", "203.0.113.5:53:53/udp", "9000/tcp"),
    labels={"io.rancher.stack_service.name": "Shop/Web", "Mixed": "Case"},
    create_index=1,
    start_count=1,
    service_index="1",
    health_state="healthy",
    network_uuid="net-1",
    dns=("169.254.169.250",),
    dns_search=("shop.rancher.internal", "web.shop.rancher.internal", "rancher.internal"),
    health_check_hosts=("host-1", "host-2"),
    links={"Cache": "container-9"},
    memberships=(Membership(service_uuid="service-1", service_name="Web"),),
)
WEB_2 = Container(
    uuid="container-2",
    name="Shop-Web-2",
    state="running",
    environment_uuid="env-1",
    host_uuid="host-2",
    host_ip="192.0.2.2",
    primary_ip="10.42.0.12",
    ips=("10.42.0.12",),
    create_index=2,
    service_index="2",
    network_uuid="net-1",
    memberships=(Membership(service_uuid="service-1", service_name="Web"),),
)
DATA_1 = Container(
    uuid="container-3",
    name="Shop-Web-Data-1",
    state="running",
    environment_uuid="env-1",
    host_uuid="host-1",
    host_ip="192.0.2.1",
    network_from_container_uuid="container-1",
    create_index=1,
    memberships=(Membership(service_uuid="service-1", service_name="Data"),),
)
ALONE = Container(
    uuid="container-4",
    name="Alone",
    state="running",
    environment_uuid="env-1",
    host_uuid="host-1",
    primary_ip="10.42.0.14",
    ips=("10.42.0.14",),
    network_uuid="net-1",
)
ON_HOST = Container(
    uuid="container-5",
    name="agent",
    state="running",
    environment_uuid="env-1",
    host_uuid="host-2",
    primary_ip="192.0.2.2",
    ips=("192.0.2.2",),
    system=True,
)

OBJECTS: tuple[Object, ...] = (
    ENVIRONMENT,
    HOST_2,
    HOST_1,
    MANAGED,
    EMPTY,
    SHOP,
    LB,
    DB,
    DATA,
    WEB,
    ON_HOST,
    ALONE,
    DATA_1,
    WEB_2,
    WEB_1,
)


def full(*objects: Object, revision: int = 1) -> Full:
    """Everything, or the given objects."""
    return Full(epoch="e", revision=revision, objects=objects or OBJECTS, host="host-1")


def shop_world() -> World:
    world = World()
    world.apply(full())
    return world
