"""Validation, creating, changing, removing, actions and errors, as clients see them."""

from __future__ import annotations

import asyncio
import io
import zipfile

import pytest

from drover.server.lifecycle import Handlers, Run
from drover.server.orchestration.context import Context
from tests.server.api.client import Answer, ApiClient
from tests.server.api.conftest import PROJECT

pytestmark = pytest.mark.anyio


def code(answer: Answer) -> tuple[int, str, str | None]:
    body = answer.json
    assert body["type"] == "error", body
    assert body["message"], "every refusal says what to do"
    return answer.status, body["code"], body["fieldName"]


async def new_stack(owner: ApiClient, name: str = "shop") -> str:
    answer = await owner.post("stacks", {"name": name})
    assert answer.status == 201, answer.json
    return str(answer.json["id"])


async def test_refusals_of_a_container(owner: ApiClient) -> None:
    for body, expected in [
        ({}, (422, "MissingRequired", "imageUuid")),
        ({"imageUuid": "docker:a b"}, (422, "InvalidOption", "imageUuid")),
        ({"imageUuid": "docker:x", "memory": "many"}, (422, "InvalidFormat", "memory")),
        ({"imageUuid": "docker:x", "ports": ["80:80:80:80"]}, (422, "PortWrongFormat", "ports")),
        ({"imageUuid": "docker:x", "ports": ["0:80"]}, (422, "PortInvalidPublicPort", "ports")),
        ({"imageUuid": "docker:x", "ports": ["80:99999"]}, (422, "PortInvalidPrivatePort", "ports")),
        ({"imageUuid": "docker:x", "ports": ["80:80/sctp"]}, (422, "PortInvalidProtocol", "ports")),
        ({"imageUuid": "docker:x", "requestedHostId": "1h77"}, (422, "InvalidReference", "requestedHostId")),
        ({"imageUuid": "docker:x", "requestedHostId": {}}, (422, "InvalidReference", "requestedHostId")),
        ({"imageUuid": "docker:x", "command": ["a", None]}, (422, "NotNullable", "command")),
        ({"imageUuid": "docker:x", "environment": "A=B"}, (422, "InvalidFormat", "environment")),
        ({"imageUuid": "docker:x", "privileged": "perhaps"}, (422, "InvalidFormat", "privileged")),
        ({"imageUuid": "docker:x", "capAdd": ["EVERYTHING"]}, (422, "InvalidOption", "capAdd")),
        ({"imageUuid": "docker:x", "name": "-x"}, (422, "InvalidCharacters", "name")),
        ({"imageUuid": "docker:x", "name": "x" * 64}, (422, "MaxLengthExceeded", "name")),
        ({"imageUuid": "docker:x", "hostname": "h" * 256}, (422, "MaxLengthExceeded", "hostname")),
        ({"imageUuid": "docker:x", "dataVolumes": ["data"]}, (422, "InvalidOption", "dataVolumes")),
        ({"imageUuid": "docker:x", "count": 100000}, (422, "MaxLimitExceeded", "count")),
        ({"imageUuid": "docker:x", "labels": {"a": None, "b": {}}}, (422, "InvalidFormat", "labels")),
    ]:
        assert code(await owner.post("containers", body)) == expected, body


async def test_conversions_and_defaults(owner: ApiClient) -> None:
    answer = await owner.post(
        "containers",
        {
            "imageUuid": "nginx",
            "command": "sleep",
            "memory": "1024",
            "tty": "yes",
            "ports": ["8080-8081:80-81"],
            "id": "1i77",
        },
    )
    assert answer.status == 201, answer.json
    shown = answer.json
    assert shown["imageUuid"] == "docker:nginx"
    assert shown["command"] == ["sleep"]
    assert (shown["memory"], shown["tty"], shown["privileged"]) == (1024, True, False)
    assert shown["ports"] == ["8080:80/tcp", "8081:81/tcp"]
    assert shown["networkMode"] == "managed"
    assert shown["id"] != "1i77"
    assert shown["createdTS"] > 1_600_000_000_000
    assert shown["transitioning"] in ("yes", "no")


async def test_query_parameters_stand_in_for_the_body(owner: ApiClient) -> None:
    answer = await owner.post("stacks", query={"name": "by-query"})
    assert (answer.status, answer.json["name"]) == (201, "by-query")
    form = await owner.request(
        "POST", "stacks", raw=b"name=by-form", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (form.status, form.json["name"]) == (201, "by-form")
    tunnelled = await owner.request("GET", "stacks", query={"_method": "POST", "name": "by-method"})
    assert tunnelled.status == 201


async def test_malformed_requests_get_clear_refusals(owner: ApiClient) -> None:
    assert code(await owner.request("POST", "stacks", raw=b"{")) == (400, "InvalidBodyContent", None)
    assert code(await owner.request("POST", "stacks", raw=b"\xff\xfe{}")) == (400, "InvalidBodyContent", None)
    assert code(await owner.request("POST", "stacks", raw=b"[" * 100_000)) == (400, "InvalidBodyContent", None)
    deep = b'{"name":' + b"[" * 80 + b"]" * 80 + b"}"
    assert code(await owner.request("POST", "stacks", raw=deep)) == (400, "InvalidBodyContent", None)
    assert code(await owner.request("POST", "stacks", raw=b" " * (9 * 1024 * 1024)))[0] == 413
    assert code(await owner.get("stacks", query={"x": "y" * 20_000}))[0] == 414
    for method in ("PATCH", "HEAD", "OPTIONS", "BREW"):
        assert (await owner.request(method, "stacks")).status == 405
    assert code(await owner.get("nothings")) == (404, "Not Found", None)
    assert code(await owner.get("stacks/1st1/services/1s1/more")) == (404, "Not Found", None)
    assert code(await owner.put("stacks", {})) == (405, "Method not allowed", None)
    assert code(await owner.post("instances", {}))[0] == 405
    assert code(await owner.get("/v2-beta/projects/1a999/stacks"))[0] == 403
    assert code(await owner.get("/v2-beta/projects/!/stacks"))[0] == 400
    nul = await owner.post("stacks", {"name": "a", "description": "x\0y"})
    assert code(nul) == (422, "InvalidCharacters", "description")


async def test_only_a_project_takes_containers(admin: ApiClient) -> None:
    answer = await admin.post("containers", {"imageUuid": "nginx"})
    assert code(answer) == (405, "Method not allowed", None)
    assert "projects" in answer.json["message"]


async def test_names_of_stacks_and_services_are_taken_once(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    assert code(await owner.post("stacks", {"name": "shop"})) == (422, "NotUnique", "name")
    body = {"name": "web", "stackId": stack, "launchConfig": {"imageUuid": "docker:nginx"}}
    answers = await asyncio.gather(*(owner.post("services", body) for _ in range(4)))
    assert sorted(each.status for each in answers) == [201, 422, 422, 422]
    sidekick = {**body, "name": "api", "secondaryLaunchConfigs": [{"name": "WEB", "imageUuid": "docker:redis"}]}
    assert code(await owner.post("services", sidekick)) == (422, "NotUnique", "name")


async def test_refusals_of_a_service(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    good = {"name": "web", "stackId": stack, "launchConfig": {"imageUuid": "docker:nginx"}}

    def sidekicks(*configs: dict[str, object]) -> dict[str, object]:
        return {"secondaryLaunchConfigs": [{"imageUuid": "docker:redis", **each} for each in configs]}

    for change, expected in [
        ({"name": None}, (422, "MissingRequired", "name")),
        ({"scale": {}}, (422, "InvalidFormat", "scale")),
        ({"name": "-web"}, (422, "InvalidCharacters", "name")),
        ({"name": "w--b"}, (422, "InvalidCharacters", "name")),
        ({"launchConfig": {}}, (422, "MissingRequired", "imageUuid")),
        ({"launchConfig": {"imageUuid": "docker:x", "ports": ["x"]}}, (422, "PortInvalidPrivatePort", "ports")),
        ({"selectorLink": "a b c"}, (422, "InvalidFormat", "selectorLink")),
        ({"scale": -1}, (422, "MinLimitExceeded", "scale")),
        ({"scalePolicy": {"min": 3, "max": 2}}, (422, "InvalidOption", "max")),
        ({"metadata": {"x": "y" * 1024 * 1024}}, (422, "MaxLengthExceeded", "metadata")),
        (sidekicks({"name": "a"}, {"name": "A"}), (422, "NotUnique", "name")),
        (sidekicks({"name": "a", "networkLaunchConfig": "b"}), (422, "InvalidReference", "secondaryLaunchConfigs")),
        (
            sidekicks({"name": "a", "networkLaunchConfig": "b"}, {"name": "b", "dataVolumesFromLaunchConfigs": ["a"]}),
            (422, "InvalidReference", "secondaryLaunchConfigs"),
        ),
        ({"stackId": "1st99"}, (422, "InvalidReference", "stackId")),
    ]:
        assert code(await owner.post("services", {**good, **change})) == expected, change
    external = {"name": "ext", "stackId": stack, "launchConfig": {}}
    answer = await owner.post("externalservices", external)
    assert code(answer) == (422, "InvalidOption", "externalIpAddresses")
    assert (await owner.post("externalservices", {**external, "hostname": "example.com"})).status == 201


async def test_port_rules_of_a_balancer(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    target = (
        await owner.post("services", {"name": "web", "stackId": stack, "launchConfig": {"imageUuid": "docker:nginx"}})
    ).json["id"]

    def balancer(**rule: object) -> dict[str, object]:
        return {
            "name": "lb",
            "stackId": stack,
            "launchConfig": {"ports": ["80:80"]},
            "lbConfig": {"portRules": [{"sourcePort": 80, **rule}]},
        }

    for rule, expected in [
        ({}, (422, "MissingRequired", "serviceId")),
        ({"serviceId": target, "selector": "a=b"}, (422, "InvalidOption", "selector")),
        ({"serviceId": target}, (422, "MissingRequired", "targetPort")),
        ({"serviceId": target, "targetPort": 80, "region": "eu"}, (422, "MissingRequired", "environment")),
        ({"serviceId": target, "targetPort": 80, "sourcePort": 42}, (422, "InvalidOption", "sourcePort")),
        ({"serviceId": target, "targetPort": 80, "protocol": "smtp"}, (422, "InvalidOption", "protocol")),
        (
            {"serviceId": target, "targetPort": 80, "protocol": "https"},
            (422, "MissingRequired", "defaultCertificateId"),
        ),
        ({"serviceId": "1s999", "targetPort": 80}, (422, "InvalidReference", "serviceId")),
    ]:
        assert code(await owner.post("loadbalancerservices", balancer(**rule))) == expected, rule
    made = await owner.post("loadbalancerservices", balancer(serviceId=target, targetPort=8080))
    assert made.status == 201, made.json
    assert made.json["launchConfig"]["healthCheck"]["port"] == 42
    assert made.json["launchConfig"]["labels"]["io.rancher.container.create_agent"] == "true"
    assert made.json["lbConfig"]["portRules"][0]["serviceId"] == target
    assert made.json["links"]["self"].endswith(f"/loadbalancerservices/{made.json['id']}")
    assert made.json["linkedServices"] == {"web": target}


async def test_links_of_a_service(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    ids = {}
    for name in ("web", "db", "cache"):
        answer = await owner.post("services", {"name": name, "stackId": stack, "launchConfig": {"imageUuid": "x"}})
        ids[name] = answer.json["id"]
    web = f"services/{ids['web']}"

    async def act(action: str, body: dict[str, object]) -> Answer:
        return await owner.post(web, body, query={"action": action})

    linked = await act("setservicelinks", {"serviceLinks": [{"serviceId": ids["db"], "name": "mydb"}]})
    assert (linked.status, linked.json["linkedServices"]) == (200, {"mydb": ids["db"]})
    added = await act("addservicelink", {"serviceLink": {"serviceId": ids["cache"]}})
    assert added.json["linkedServices"] == {"mydb": ids["db"], "cache": ids["cache"]}
    again = await act("addservicelink", {"serviceLink": {"serviceId": ids["cache"]}})
    assert code(again) == (422, "NotUnique", "serviceLinks")
    bad = await act("addservicelink", {"serviceLink": {"serviceId": ids["cache"], "name": "a..b"}})
    assert code(bad) == (422, "InvalidCharacters", "name")
    removed = await act("removeservicelink", {"serviceLink": {"serviceId": ids["db"], "name": "mydb"}})
    assert removed.json["linkedServices"] == {"cache": ids["cache"]}
    consumed = await owner.get(f"{web}/serviceconsumemaps")
    assert consumed.status in (200, 404)


async def test_actions_follow_the_state(owner: ApiClient, handlers: Handlers, context: Context) -> None:
    @handlers.handles("instance.create")
    async def create(run: Run) -> None:
        return None

    made = (await owner.post("containers", {"imageUuid": "nginx"})).json
    number = int(made["id"][2:])
    await context.watch.until("instance", number, lambda row: row is not None and row.state == "stopped", timeout=60)
    stopped = (await owner.get(made["links"]["self"])).json
    assert "start" in stopped["actions"]
    assert "execute" not in stopped["actions"]
    refused = await owner.post(made["links"]["self"], query={"action": "execute"})
    assert code(refused) == (422, "ActionNotAvailable", None)
    assert code(await owner.post(made["links"]["self"], query={"action": "dance"})) == (422, "InvalidAction", None)
    assert code(await owner.post(made["links"]["self"])) == (405, "Method not allowed", None)
    assert code(await owner.post("containers/1i999", query={"action": "start"})) == (404, "Not Found", None)
    started = await owner.post(stopped["actions"]["start"])
    assert (started.status, started.json["state"]) == (202, "starting")
    assert started.json["transitioning"] == "yes"
    assert started.json["transitioningMessage"] == "In Progress"


async def test_of_racing_actions_one_wins(owner: ApiClient, handlers: Handlers, context: Context) -> None:
    changes = context.store.changes()
    row = changes.insert("instance", {"kind": "container", "state": "stopped", "accountId": PROJECT})
    await context.store.commit(changes)
    url = f"containers/1i{row.id}"
    answers = await asyncio.gather(*(owner.post(url, query={"action": "start"}) for _ in range(5)))
    assert sorted(each.status for each in answers)[0] == 202
    assert {each.status for each in answers} <= {202, 409, 422}
    assert sum(each.status == 202 for each in answers) == 1


async def test_an_update_runs_its_process_only_where_a_field_asks_for_it(
    owner: ApiClient, handlers: Handlers, context: Context
) -> None:
    old: list[object] = []

    @handlers.handles("service.update")
    async def update(run: Run) -> None:
        old.append(run.data["old"])

    stack = await new_stack(owner)
    made = (
        await owner.post("services", {"name": "web", "stackId": stack, "launchConfig": {"imageUuid": "docker:nginx"}})
    ).json
    number = int(made["id"][2:])
    await context.watch.until("service", number, lambda row: row is not None and row.state == "inactive", timeout=60)
    described = await owner.put(made["links"]["self"], {"description": "shop", "launchConfig": {"imageUuid": "other"}})
    assert (described.status, described.json["state"]) == (200, "inactive")
    assert described.json["launchConfig"]["imageUuid"] == "docker:nginx"
    scaled = await owner.put(made["links"]["self"], {"scale": 3})
    assert scaled.json["state"] == "updating-inactive"
    await context.watch.until("service", number, lambda row: row is not None and row.state == "inactive", timeout=60)
    assert old == [{"scale": 1}]


async def test_removing_twice(owner: ApiClient, context: Context) -> None:
    stack = await new_stack(owner)
    number = int(stack[3:])
    await context.watch.until("stack", number, lambda row: row is not None and row.state == "active", timeout=60)
    assert (await owner.delete(f"stacks/{stack}")).json["state"] == "removing"
    await context.watch.until("stack", number, lambda row: row is not None and row.state == "removed", timeout=60)
    assert code(await owner.delete(f"stacks/{stack}")) == (405, "Method not allowed", None)
    assert (await owner.get(f"stacks/{stack}")).json["state"] == "removed"


async def test_a_running_container_is_stopped_before_it_is_removed(owner: ApiClient, context: Context) -> None:
    changes = context.store.changes()
    row = changes.insert("instance", {"kind": "container", "state": "running", "accountId": PROJECT})
    await context.store.commit(changes)
    answer = await owner.delete(f"containers/1i{row.id}")
    assert (answer.status, answer.json["state"]) == (200, "stopping")
    await context.watch.until("instance", row.id, lambda row: row is not None and row.state == "removed", timeout=60)


async def test_several_containers_at_once(owner: ApiClient) -> None:
    answer = await owner.post("containers", {"imageUuid": "nginx", "count": 3})
    assert answer.status == 201
    assert answer.json["type"] == "collection"
    assert len({each["uuid"] for each in answer.json["data"]}) == 3


async def test_posting_to_a_child_link(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    answer = await owner.post(
        f"stacks/{stack}/services", {"name": "web", "launchConfig": {"imageUuid": "docker:nginx"}}
    )
    assert (answer.status, answer.json["stackId"]) == (201, stack)
    listed = await owner.get(f"stacks/{stack}/services")
    assert [each["id"] for each in listed.json["data"]] == [answer.json["id"]]
    back = await owner.get(answer.json["links"]["stack"])
    assert back.json["id"] == stack
    included = await owner.get("services", query={"include": "stack"})
    assert included.json["data"][0]["stack"]["name"] == "shop"


async def test_a_stack_is_exported_as_compose_files(owner: ApiClient) -> None:
    stack = await new_stack(owner)
    made = await owner.post(
        "services", {"name": "web", "stackId": stack, "scale": 2, "launchConfig": {"imageUuid": "docker:nginx:1"}}
    )
    assert made.status == 201
    files = await owner.post(f"stacks/{stack}", query={"action": "exportconfig"})
    assert files.status == 200, files.json
    assert "image: nginx:1" in files.json["dockerComposeConfig"]
    assert "scale: 2" in files.json["rancherComposeConfig"]
    shown = (await owner.get(f"stacks/{stack}")).json
    archive = await owner.get(shown["links"]["composeConfig"])
    assert archive.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert opened.read("docker-compose.yml").decode() == files.json["dockerComposeConfig"]
