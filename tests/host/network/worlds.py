"""Small environments for tests: one host's view with the stock network stack."""

from __future__ import annotations

from typing import Any

from drover.client.world import (
    Container,
    Environment,
    Full,
    Host,
    Membership,
    Network,
    Service,
    Stack,
    World,
    encode_frame,
)
from tests.host.network.lonely_host import CNI

ENVIRONMENT = Environment(uuid="env", name="Default")
HOST = Host(uuid="h1", name="host1", agent_ip="192.0.2.1", environment_uuid="env")
ROUTER_SERVICES = (
    Service(uuid="driver", name="cni-driver", kind="networkDriverService", stack_uuid="infra", environment_uuid="env"),
    Service(uuid="router", name="ipsec", stack_uuid="infra", primary_service_name="ipsec", environment_uuid="env"),
)
INFRA = Stack(uuid="infra", name="ipsec", system=True, environment_uuid="env")


def network(*, policy: list[dict[str, Any]] | None = None, action: str = "allow", **config: Any) -> Network:
    return Network(
        uuid="n1",
        name="ipsec",
        environment_uuid="env",
        is_default=True,
        host_ports=True,
        default_policy_action=action,
        policy=policy,
        metadata={"cniConfig": {"10-rancher.conf": CNI | config}},
    )


def router(address: str = "10.42.1.1", *, host: str = "h1", **more: Any) -> Container:
    return Container(
        uuid=f"router-{host}",
        name="ipsec-ipsec-1",
        state="running",
        host_uuid=host,
        environment_uuid="env",
        primary_ip=address,
        network_uuid="n1",
        system=True,
        memberships=(Membership(service_uuid="router", service_name="ipsec"),),
        **more,
    )


def container(uuid: str, address: str, *, host: str = "h1", docker_id: str | None = None, **more: Any) -> Container:
    return Container(
        uuid=uuid,
        name=uuid,
        external_id=docker_id,
        state=more.pop("state", "running"),
        host_uuid=host,
        environment_uuid="env",
        primary_ip=address,
        network_uuid="n1",
        **more,
    )


def stock(*objects: Any, own: Network | None = None) -> tuple[Any, ...]:
    return (ENVIRONMENT, HOST, INFRA, *ROUTER_SERVICES, router(), own or network(), *objects)


def frame(*objects: Any, revision: int = 1) -> bytes:
    return encode_frame(Full(epoch="e", revision=revision, objects=objects, host="h1"))


def world(*objects: Any) -> World:
    made = World()
    made.apply(Full(epoch="e", revision=1, objects=objects, host="h1"))
    return made
