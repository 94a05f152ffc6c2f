"""Which image runs where a stack names the balancer of Rancher 1.6."""

from __future__ import annotations

from typing import Any

import pytest

from drover.server.orchestration.images.own import own_image, stand_in
from drover.server.orchestration.settings import Settings
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

BALANCER = ["balancer", "--guard"]
STANDARD = "docker:rancher/lb-service-haproxy:v0.9.14"


def settings(platform: Platform, **variables: str) -> Settings:
    return Settings(platform.store, {f"CATTLE_{name}": value for name, value in variables.items()})


async def test_the_own_image(platform: Platform) -> None:
    assert own_image(settings(platform)) == "drover:latest"
    agents = {"BOOTSTRAP_REQUIRED_IMAGE": "registry:5000/drover:2"}
    assert own_image(settings(platform, **agents)) == "registry:5000/drover:2"
    assert own_image(settings(platform, DROVER_IMAGE="drover:3", **agents)) == "drover:3"


@pytest.mark.parametrize(
    "image",
    [
        STANDARD,
        "docker:rancher/lb-service-haproxy",
        "docker:rancher/lb-service-haproxy:v0.4.1",
        "docker:registry:5000/rancher/lb-service-haproxy@sha256:0",
        "docker:docker.io/rancher/lb-service-haproxy:v0.7.1",
    ],
)
async def test_the_original_balancer_is_replaced(platform: Platform, image: str) -> None:
    found = settings(platform, DROVER_IMAGE="drover:3")
    assert stand_in(found, {"imageUuid": image}) == {"imageUuid": "docker:drover:3", "command": BALANCER}
    other = settings(platform, DROVER_BALANCER_IMAGE="own/balancer:1")
    assert stand_in(other, {"imageUuid": image}) == {"imageUuid": "docker:own/balancer:1", "command": BALANCER}
    assert stand_in(settings(platform, DROVER_BALANCER_IMAGE="none"), {"imageUuid": image}) == {}


@pytest.mark.parametrize(
    "launch",
    [
        {"imageUuid": "docker:someone/lb-service-haproxy:v0.9.14"},
        {"imageUuid": "docker:rancher/lb-service-haproxy-x"},
        {"imageUuid": "sim:rancher"},
        {"imageUuid": STANDARD, "command": ["/own/start"]},
        {"imageUuid": STANDARD, "entryPoint": ["/own/start"]},
        {},
    ],
)
async def test_others_run_what_they_name(platform: Platform, launch: dict[str, Any]) -> None:
    assert stand_in(settings(platform), launch) == {}


async def test_the_own_image_needs_no_command_to_balance(platform: Platform) -> None:
    assert stand_in(settings(platform), {"imageUuid": "docker:drover:latest"}) == {"command": BALANCER}
    assert stand_in(settings(platform), {"imageUuid": "docker:drover:latest", "command": ["balancer"]}) == {}
