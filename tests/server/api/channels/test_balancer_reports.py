"""What a balancer's container may say of its service, and that nobody else may."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from drover.client.events import BALANCER_REPORT
from tests.server.api.channels.conftest import Agent, Wire

pytestmark = pytest.mark.anyio

REFUSED = "line 7: unknown keyword 'blance'"


async def service(wire: Wire, kind: str, name: str) -> dict[str, Any]:
    stack = await wire.create("stacks", name=f"s-{name}")
    launch = {"imageUuid": "sim:web"}
    made = await wire.create(kind, name=name, stackId=stack["id"], launchConfig=launch, lbConfig={"portRules": []})
    number = int(made["id"].removeprefix("1s"))
    await wire.assembly.context.watch.until("service", number, lambda row: row.state == "inactive", timeout=60)
    return made


async def container(wire: Wire, owner: dict[str, Any], number: int) -> Agent:
    """A container of the service, by the agent whose keys it has."""
    agent = await wire.register(number)
    store = wire.assembly.context.store
    changes = store.changes()
    row = {"kind": "container", "uuid": str(uuid.uuid4()), "accountId": 5, "state": "running", "agentId": agent.id}
    changes.insert("instance", {**row, "name": f"c{number}", "serviceId": int(owner["id"].removeprefix("1s"))})
    await store.commit(changes)
    return agent


async def report(wire: Wire, agent: Agent | None, problem: str, **more: Any) -> int:
    body = {"name": BALANCER_REPORT, "transitioningMessage": problem, **more}
    headers = {} if agent is None else agent.headers
    status, _ = await wire.call("POST", f"{wire.url}/v1/publish", body, **headers)
    return status


async def shown(wire: Wire, service: dict[str, Any]) -> tuple[str, str | None]:
    _, found = await wire.call("GET", service["links"]["self"])
    return found["transitioning"], found["transitioningMessage"]


async def log(wire: Wire, service: dict[str, Any]) -> list[tuple[str, str]]:
    rows = await wire.assembly.context.store.find_by("serviceLog", serviceId=int(service["id"].removeprefix("1s")))
    return [(str(row["level"]), str(row["description"])) for row in rows if row["eventType"] == BALANCER_REPORT]


async def test_a_refused_configuration_is_shown_until_every_container_works(wire: Wire) -> None:
    front = await service(wire, "loadbalancerservices", "front")
    one, two = [await container(wire, front, number) for number in (1, 2)]
    for agent in (one, two):
        assert await report(wire, agent, REFUSED) == 201
    assert await shown(wire, front) == ("error", f"c1: {REFUSED}")
    assert await report(wire, one, "") == 201
    assert await shown(wire, front) == ("error", f"c2: {REFUSED}")
    for _ in range(2):
        assert await report(wire, two, "") == 201
    assert await shown(wire, front) == ("no", None)
    levels = [level for level, _ in await log(wire, front)]
    assert levels == ["error", "error", "info"]


async def test_a_container_that_was_replaced_takes_its_problem_along(wire: Wire) -> None:
    front = await service(wire, "loadbalancerservices", "front")
    old, successor = [await container(wire, front, number) for number in (1, 2)]
    assert await report(wire, old, REFUSED) == 201
    store = wire.assembly.context.store
    row = await store.first("instance", agentId=old.id)
    assert row is not None
    changes = store.changes()
    changes.update(row, {"state": "removed", "removed": 1})
    await store.commit(changes)
    assert await report(wire, successor, "") == 201
    assert await shown(wire, front) == ("no", None)


async def test_a_standing_problem_is_one_line(wire: Wire) -> None:
    front = await service(wire, "loadbalancerservices", "front")
    agent = await container(wire, front, 1)
    for _ in range(3):
        assert await report(wire, agent, f"  {REFUSED}\n") == 201
    assert await log(wire, front) == [("error", f"c1: {REFUSED}")]


async def test_a_key_speaks_for_its_own_balancer_alone(wire: Wire) -> None:
    front = await service(wire, "loadbalancerservices", "front")
    web = await service(wire, "services", "web")
    host, other = await wire.register(1), await container(wire, web, 2)
    wanted = {"resourceType": "service", "resourceId": front["id"], "data": {"serviceId": front["id"]}}
    for agent in (host, other, None):
        assert await report(wire, agent, "nonsense", **wanted) == 403
    assert await shown(wire, front) == ("no", None)
    assert await shown(wire, web) == ("no", None)


async def test_reports_are_short_and_rare(wire: Wire) -> None:
    front = await service(wire, "loadbalancerservices", "front")
    agent = await container(wire, front, 1)
    statuses = [await report(wire, agent, f"{number} {'x' * 5000}") for number in range(12)]
    assert statuses == [201] * 10 + [429] * 2
    _, message = await shown(wire, front)
    assert message is not None
    assert len(message) < 1100
