from __future__ import annotations

import pytest
from starlette.applications import Starlette

from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


@pytest.fixture
def old(app: Starlette) -> ApiClient:
    return ApiClient(app, "/v1/projects/1a5")


async def test_a_stack_is_an_environment(old: ApiClient, owner: ApiClient) -> None:
    made = await old.post("environments", {"name": "shop"})
    assert made.status == 201, made.json
    stack = made.json
    assert (stack["type"], stack["kind"], stack["baseType"]) == ("environment", "environment", "environment")
    assert stack["id"].startswith("1e")
    assert stack["links"]["self"] == f"http://drover.test/v1/projects/1a5/environments/{stack['id']}"
    assert "serviceIds" not in stack
    number = stack["id"].removeprefix("1e")
    new_view = await owner.get(f"stacks/1st{number}")
    assert (new_view.json["type"], new_view.json["name"]) == ("stack", "shop")
    assert (await owner.get(f"stacks/{stack['id']}")).status == 200
    assert (await old.get(f"environments/1st{number}")).json["id"] == stack["id"]
    listed = (await old.get("environments", query={"name": "shop"})).json
    assert listed["resourceType"] == "environment"
    assert [each["id"] for each in listed["data"]] == [stack["id"]]


async def test_a_service_belongs_to_an_environment(old: ApiClient, owner: ApiClient) -> None:
    environment = (await old.post("environments", {"name": "shop"})).json["id"]
    body = {"name": "web", "environmentId": environment, "launchConfig": {"imageUuid": "docker:nginx"}}
    made = await old.post("services", body)
    assert made.status == 201, made.json
    assert made.json["environmentId"] == environment
    assert "environment" in made.json["links"]
    assert "stack" not in made.json["links"]
    assert (await owner.get(f"services/{made.json['id']}")).json["stackId"] == environment.replace("1e", "1st")
    parent = await old.get(made.json["links"]["environment"])
    assert parent.json["id"] == environment
    children = await old.get(f"environments/{environment}/services")
    assert [each["name"] for each in children.json["data"]] == ["web"]
    found = await old.get("services", query={"environmentId": environment})
    assert [each["name"] for each in found.json["data"]] == ["web"]
    balancer = await old.post(
        "loadbalancerservices",
        {"name": "lb", "stackId": environment, "environmentId": environment, "launchConfig": {}, "lbConfig": {}},
    )
    assert balancer.status == 201, balancer.json


async def test_removing_an_environment(old: ApiClient) -> None:
    made = (await old.post("environments", {"name": "shop"})).json
    acted = await old.post(made["links"]["self"], query={"action": "exportconfig"})
    assert acted.status in (200, 422), acted.json


async def test_the_schemas_say_where_they_are(old: ApiClient) -> None:
    answer = await old.get("schemas")
    assert answer.headers["x-api-schemas"] == "http://drover.test/v1/projects/1a5/schemas"
    names = {each["id"] for each in answer.json["data"]}
    assert {"environment", "service", "container"} <= names
    assert "stack" not in names
