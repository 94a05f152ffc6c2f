"""Balancers: who may drain, and those of v1, which had links with ports instead of rules."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from drover.server.api.types.balancers import can_drain
from drover.server.orchestration.context import Context
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio

STANDARD = "rancher/lb-service-haproxy:v0.9.14"


@pytest.fixture
def old(app: Starlette) -> ApiClient:
    return ApiClient(app, "/v1/projects/1a5")


async def new_stack(client: ApiClient) -> str:
    made = await client.post("environments", {"name": "shop"})
    assert made.status == 201, made.json
    return str(made.json["id"])


async def new_service(client: ApiClient, stack: str, name: str) -> str:
    body = {"name": name, "environmentId": stack, "launchConfig": {"imageUuid": "docker:nginx"}}
    return str((await client.post("services", body)).json["id"])


@pytest.mark.parametrize(
    ("image", "standard", "drains"),
    [
        (STANDARD, STANDARD, True),
        ("rancher/lb-service-haproxy:v0.7.12", STANDARD, True),
        ("rancher/lb-service-haproxy:v0.7.9", STANDARD, False),
        ("rancher/lb-service-haproxy", STANDARD, False),
        ("registry:5000/a/lb:v1.0.0", "registry:5000/a/lb:v0.8.0", True),
        ("rancher/lb-service-haproxy:v0.7.1", "rancher/lb-service-haproxy:v0.7.1", False),
        ("drover:dev", "drover:dev", True),
        ("someone/haproxy:v9.9.9", STANDARD, False),
    ],
)
def test_which_images_drain(image: str, standard: str, drains: bool) -> None:
    assert can_drain(image, standard, since="v0.7.12") is drains


@pytest.mark.parametrize(
    ("launch", "role", "drains"),
    [
        ({}, "environmentAdmin,agent", "true"),
        ({"imageUuid": "docker:someone/lb"}, "environmentAdmin", None),
        ({"imageUuid": "docker:drover:1.0", "command": ["balancer"]}, "environmentAdmin,agent", "true"),
    ],
)
async def test_the_standard_image_gets_an_account_to_drain(
    owner: ApiClient, old: ApiClient, launch: dict[str, object], role: str, drains: str | None
) -> None:
    stack = (await new_stack(old)).replace("1e", "1st")
    body = {"name": "lb", "stackId": stack, "launchConfig": launch, "lbConfig": {"portRules": []}}
    labels = (await owner.post("loadbalancerservices", body)).json["launchConfig"]["labels"]
    assert labels["io.rancher.container.agent.role"] == role
    assert labels.get("io.rancher.container.agent_service.drain_provider") == drains


async def test_an_upgrade_keeps_what_a_balancer_needs(owner: ApiClient, old: ApiClient, context: Context) -> None:
    stack = (await new_stack(old)).replace("1e", "1st")
    body = {"name": "lb", "stackId": stack, "launchConfig": {"ports": ["80:80"]}, "lbConfig": {"portRules": []}}
    made = (await owner.post("loadbalancerservices", body)).json
    number = int(made["id"].removeprefix("1s"))
    await context.watch.until("service", number, lambda row: row is not None and row.state == "inactive", timeout=60)
    strategy = {"inServiceStrategy": {"launchConfig": {"imageUuid": f"docker:{STANDARD}", "labels": {"a": "b"}}}}
    answer = await owner.post(f"loadbalancerservices/{made['id']}", strategy, query={"action": "upgrade"})
    assert answer.status == 202, answer.json
    launch = answer.json["launchConfig"]
    assert launch["labels"]["a"] == "b"
    assert launch["labels"]["io.rancher.container.create_agent"] == "true"
    assert launch["healthCheck"]["port"] == 42


async def test_a_balancer_of_version_1(owner: ApiClient, old: ApiClient) -> None:
    stack = await new_stack(old)
    web, api = [await new_service(old, stack, name) for name in ("web", "api")]
    made = await old.post(
        "loadbalancerservices",
        {
            "name": "lb",
            "environmentId": stack,
            "launchConfig": {
                "imageUuid": "docker:rancher/load-balancer-service",
                "ports": ["80:8080", "9000:9001/tcp"],
                "expose": ["81"],
                "labels": {"io.rancher.loadbalancer.proxy-protocol.ports": "9000"},
            },
            "loadBalancerConfig": {
                "haproxyConfig": {"global": "maxconn 100", "defaults": "timeout client 9s"},
                "lbCookieStickinessPolicy": {"cookie": "SRV", "mode": "insert"},
            },
        },
    )
    assert made.status == 201, made.json
    identity = made.json["id"]

    async def link(action: str, body: dict[str, object]) -> list[tuple[object, ...]]:
        answer = await old.post(f"loadbalancerservices/{identity}", body, query={"action": action})
        assert answer.status == 200, answer.json
        rules = (await owner.get(f"loadbalancerservices/{identity}")).json["lbConfig"]["portRules"]
        names = ("sourcePort", "protocol", "serviceId", "targetPort", "hostname", "path")
        return [tuple(rule.get(name) for name in names) for rule in rules]

    links = [{"serviceId": web}, {"serviceId": api, "ports": ["api.example.com:80/v1=8081", "8082:b.example.com/old"]}]
    assert await link("setservicelinks", {"serviceLinks": links}) == [
        (80, "http", web, 8080, None, None),
        (9000, "tcp", web, 9001, None, None),
        (81, "http", web, 81, None, None),
        (80, "http", api, 8081, "api.example.com", "/v1"),
        (80, "http", api, 8082, "b.example.com", "/old"),
        (9000, "tcp", api, 8082, "b.example.com", "/old"),
        (81, "http", api, 8082, "b.example.com", "/old"),
    ]
    assert len(await link("removeservicelink", {"serviceLink": {"serviceId": api}})) == 3
    assert len(await link("addservicelink", {"serviceLink": {"serviceId": api, "ports": ["81=8083"]}})) == 6
    bad = {"serviceLinks": [{"serviceId": web, "ports": ["a=b=c"]}]}
    answer = await old.post(f"loadbalancerservices/{identity}", bad, query={"action": "setservicelinks"})
    assert (answer.status, answer.json["code"]) == (422, "InvalidPort")

    now = (await owner.get(f"loadbalancerservices/{identity}")).json
    assert now["launchConfig"]["imageUuid"] == f"docker:{STANDARD}"
    assert now["launchConfig"]["ports"] == ["80:80/tcp", "9000:9000/tcp"]
    assert now["lbConfig"]["stickinessPolicy"]["cookie"] == "SRV"
    assert now["lbConfig"]["config"] == (
        "global\n    maxconn 100\ndefaults\n    timeout client 9s\nfrontend 9000\n    accept-proxy\n"
    )
    assert "legacyListeners" not in now


async def test_every_version_of_the_standard_image_is_ours_to_run(owner: ApiClient, old: ApiClient) -> None:
    stack = (await new_stack(old)).replace("1e", "1st")
    launch = {"imageUuid": "docker:rancher/lb-service-haproxy:v0.4.1"}
    body = {"name": "lb", "stackId": stack, "launchConfig": launch, "lbConfig": {"portRules": []}}
    shown = (await owner.post("loadbalancerservices", body)).json["launchConfig"]
    assert shown["imageUuid"] == launch["imageUuid"]
    assert shown["labels"]["io.rancher.container.agent.role"] == "environmentAdmin,agent"
