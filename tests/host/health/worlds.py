"""Small environments to check."""

from __future__ import annotations

from typing import Any

from drover.client.world import Container, Environment, Full, HealthCheck, Host, Network, Object, World

OWN = "host-1"
CHECK = HealthCheck(port=80, interval=2000, response_timeout=1000, healthy_threshold=2, unhealthy_threshold=3)


def container(uuid: str = "c1", **values: Any) -> Container:
    given: dict[str, Any] = {
        "name": uuid,
        "state": "running",
        "host_uuid": OWN,
        "primary_ip": "10.42.0.9",
        "start_count": 1,
        "health_check": CHECK,
        "health_check_hosts": (OWN,),
        **values,
    }
    return Container(uuid=uuid, **given)


def world(*objects: Object) -> World:
    found = World()
    found.apply(full(*objects))
    return found


def full(*objects: Object, revision: int = 1) -> Full:
    common = (Environment(uuid="env"), Host(uuid=OWN, agent_ip="192.0.2.1"), HOST_NETWORK, MANAGED)
    return Full(epoch="e", revision=revision, objects=(*common, *objects), host=OWN)


HOST_NETWORK = Network(uuid="net-host", name="Docker Host Network Mode")
MANAGED = Network(uuid="net-managed", name="managed", is_default=True)
