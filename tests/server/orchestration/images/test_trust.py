"""Which containers may hold the keys of their environment's administrator."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.images.trust import is_trusted_balancer
from drover.server.orchestration.settings import Settings
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

OWN = {"imageUuid": "docker:drover:3", "command": ["balancer", "--guard"]}


def trusted(platform: Platform, container: dict[str, Any], **variables: str) -> bool:
    given = {f"CATTLE_{name}": value for name, value in ({"DROVER_IMAGE": "drover:3"} | variables).items()}
    return is_trusted_balancer(Settings(platform.store, given), container)


@pytest.mark.parametrize(
    "container",
    [
        OWN,
        OWN | {"command": ["balancer"]},
        OWN | {"command": "balancer --guard"},
        OWN | {"environment": {"COLOUR": "green", "DROVER_PROVIDER": "nginx"}},
        OWN | {"dnsSearch": ["shop.rancher.internal", "lb.shop.rancher.internal"]},
        OWN | {"dataVolumes": ["lets-encrypt:/certs", "/srv/errors:/errors:ro"]},
        OWN | {"dataVolumeMounts": {"/certs": 7}},
        {"imageUuid": "docker:someone/lb:7"},
    ],
)
async def test_a_plain_balancer_is_trusted(platform: Platform, container: dict[str, Any]) -> None:
    assert trusted(platform, container, LB_INSTANCE_IMAGE="someone/lb:7", DROVER_BALANCER_IMAGE="none")


@pytest.mark.parametrize(
    "container",
    [
        OWN | {"imageUuid": "docker:someone/drover:3"},
        OWN | {"command": ["sh", "-c", "env"]},
        OWN | {"command": ["balancer", "--server-url=http://elsewhere"]},
        OWN | {"command": []},
        OWN | {"entryPoint": ["/bin/sh"]},
        OWN | {"environment": {"CATTLE_URL": "http://elsewhere"}},
        OWN | {"environment": {"DROVER_SERVER_URL": "http://elsewhere"}},
        OWN | {"environment": {"http_proxy": "http://elsewhere"}},
        OWN | {"environment": {"PYTHONPATH": "/certs"}},
        OWN | {"dataVolumes": ["mine:/usr/local/lib/python3.11"]},
        OWN | {"dataVolumes": ["mine:/certs/../usr"]},
        OWN | {"dataVolumes": ["mine:/"]},
        OWN | {"dataVolumeMounts": {"/usr/local/bin": 7}},
        OWN | {"dataVolumes": ["/usr"]},
        OWN | {"dataVolumesFrom": [3]},
        OWN | {"dns": ["203.0.113.3"]},
        OWN | {"dnsSearch": ["shop.rancher.internal", "elsewhere.example"]},
        OWN | {"extraHosts": ["server:203.0.113.3"]},
        OWN | {"pidMode": "host"},
        OWN | {"networkContainerId": 7},
        {"imageUuid": "docker:someone/lb:7", "command": ["env"]},
        {"imageUuid": "docker:none", "command": ["balancer"]},
        {},
    ],
)
async def test_whoever_may_be_led_elsewhere_is_not(platform: Platform, container: dict[str, Any]) -> None:
    assert not trusted(platform, container, LB_INSTANCE_IMAGE="someone/lb:7", DROVER_BALANCER_IMAGE="none")
