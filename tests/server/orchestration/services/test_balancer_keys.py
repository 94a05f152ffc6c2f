"""Which keys the containers of a service find in their environment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.orchestration.services.conftest import World

pytestmark = pytest.mark.anyio

ASKING = {
    "imageUuid": "docker:rancher/lb-service-haproxy:v0.9.14",
    "labels": {
        "io.rancher.container.create_agent": "true",
        "io.rancher.container.agent.role": "environmentAdmin,agent",
    },
}


@pytest.mark.parametrize(
    ("kind", "launch", "expected"),
    [
        ("loadBalancerService", {}, {"agent", "environmentAdmin"}),
        ("loadBalancerService", {"environment": {"CATTLE_URL": "http://elsewhere"}}, {"agent", "environment"}),
        ("service", {}, {"agent", "environment"}),
    ],
)
async def test_only_balancers_hold_the_administrators_keys(
    world: World, kind: str, launch: dict[str, Any], expected: set[str]
) -> None:
    await world.add_host()
    service = await world.create_service("lb", kind=kind, launchConfig={**ASKING, **launch})
    (container,) = await world.until_names(service, "shop-lb-1")
    agent = await world.store.get("agent", int(container["agentId"]))
    assert agent is not None
    ids = [agent["accountId"], *agent["authorizedRoleAccountIds"]]
    accounts = await world.store.get_many("account", ids)
    assert {account["agentRole"] or "agent" for account in accounts.values()} == expected
