"""Which stacks an environment gets, when, and what waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drover.server.orchestration.seed import DEFAULT_PROJECT_UUID
from drover.server.store import Record
from tests.server.orchestration.infrastructure.conftest import Environment, Server, number, serving

pytestmark = pytest.mark.anyio

OWN_COMPOSE = "version: '2'\nservices:\n  tool:\n    image: nginx\n"


async def complete(env: Environment, stacks: int) -> Record:
    async def found() -> Record | None:
        project = await env.store.get("account", env.id)
        assert project is not None
        return project if len(project["startedStackIds"] or ()) == stacks else None

    project: Record = await env.eventually(found)
    return project


async def first_environment(server: Server) -> Environment:
    found = await server.store.first("account", uuid=DEFAULT_PROJECT_UUID)
    assert found is not None
    return Environment(server.assembly, found.id)


async def test_built_in_templates_are_listed_for_everybody(server: Server) -> None:
    env = await server.create_environment("plain")
    found = {each["name"]: each for each in (await env.api.get("projecttemplates")).json["data"]}
    assert set(found) == {"Cattle", "VXLAN", "Plain"}
    assert [each["name"] for each in found["Cattle"]["stacks"]] == [
        "network-services",
        "ipsec",
        "scheduler",
        "healthcheck",
    ]


@pytest.mark.parametrize("template", ["Cattle", "VXLAN", "Plain"])
async def test_an_environment_gets_the_stacks_of_its_template(server: Server, template: str) -> None:
    found = await server.template(template)
    env = await server.from_template(template)
    await env.add_host("h1")
    project = await complete(env, len(found["stacks"]))
    assert project["createdStackIds"] == project["startedStackIds"]
    stacks = await server.store.find_by("stack", accountId=env.id, removed=None)
    assert [each.name for each in sorted(stacks, key=lambda each: each.id)] == [
        each["name"] for each in found["stacks"]
    ]
    assert all(each["system"] and each.state == "active" for each in stacks)
    for stack in stacks:
        for service in await server.store.find_by("service", stackId=stack.id, removed=None):
            assert service["system"]
            await env.until("service", service.id, "active")


async def test_without_a_template_nothing_is_installed(server: Server) -> None:
    env = await server.create_environment("plain")
    project = await env.until("account", env.id, "active")
    assert project["projectTemplateId"] is None
    assert not await server.store.find_by("stack", accountId=env.id)


async def test_an_unknown_template_is_refused(server: Server) -> None:
    answer = await server.api.post("projects", {"name": "x", "projectTemplateId": "1pt999"})
    assert (answer.status, answer.json["code"]) == (422, "InvalidReference")


CHOSEN = {"CATTLE_PROJECT_TEMPLATE_DEFAULT_NAME": "vxlan"}
IMAGE = {"DEFAULT_CATTLE_CATALOG_EXECUTE": "true"}


@pytest.mark.parametrize(
    ("settings", "network"), [(IMAGE, "ipsec"), (CHOSEN, "vxlan"), (IMAGE | CHOSEN, "vxlan")], ids=str
)
async def test_environments_that_name_no_template_get_the_default_one(
    tmp_path: Path, settings: dict[str, str], network: str
) -> None:
    async with serving(tmp_path, settings) as server:
        for env in (await first_environment(server), await server.create_environment("second")):
            await complete(env, 4)
            await env.network(network)


@pytest.mark.parametrize("name", ["Plain", "none", ""])
async def test_no_infrastructure_is_a_choice_too(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, IMAGE | {"CATTLE_PROJECT_TEMPLATE_DEFAULT_NAME": name}) as server:
        for env in (await first_environment(server), await server.create_environment("second")):
            await env.until("account", env.id, "active")
            assert not await server.store.find_by("stack", accountId=env.id)


async def test_an_administrator_changes_the_default_of_later_environments(tmp_path: Path) -> None:
    async with serving(tmp_path, IMAGE) as server:
        await server.set("project.template.default.name", "VXLAN")
        await (await server.create_environment("later")).network("vxlan")


async def test_environments_that_exist_get_nothing_by_a_new_default(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        before = [await first_environment(server), await server.create_environment("second")]
    async with serving(tmp_path, IMAGE) as server:
        await complete(await server.create_environment("third"), 4)
        for env in before:
            project = await server.store.get("account", env.id)
            assert project is not None
            assert project["projectTemplateId"] is None
            assert not await server.store.find_by("stack", accountId=env.id)


async def test_without_packaged_templates_there_is_no_default(tmp_path: Path) -> None:
    async with serving(tmp_path, IMAGE | {"CATTLE_PROJECT_TEMPLATE_DEFAULTS": "false"}) as server:
        assert (await server.api.get("projecttemplates")).json["data"] == []
        env = await server.create_environment("bare")
        assert (await env.until("account", env.id, "active"))["projectTemplateId"] is None


async def test_what_was_begun_is_completed_by_the_next_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        env = await server.from_template("VXLAN")
    async with serving(tmp_path) as server:
        env = Environment(server.assembly, env.id)
        await complete(env, 4)
        stacks = await server.store.find_by("stack", accountId=env.id, removed=None)
        assert sorted(str(each.name) for each in stacks) == ["healthcheck", "network-services", "scheduler", "vxlan"]
        networks = await server.store.find_by("network", accountId=env.id, name="vxlan", removed=None)
        assert len(networks) == 1


async def test_a_stack_that_was_stopped_stays_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        env = await server.from_template("VXLAN")
        await env.add_host("h1")
        await complete(env, 4)
        checker = await env.service("healthcheck", "healthcheck")
        await env.api.post(f"services/1s{checker.id}/?action=deactivate", {})
        await env.until("service", checker.id, "inactive")
    async with serving(tmp_path) as server:
        env = Environment(server.assembly, env.id)
        await env.service("vxlan", "vxlan")
        assert (await server.store.get("service", checker.id)).state == "inactive"  # type: ignore[union-attr]


async def test_a_container_waits_for_the_network_that_is_on_its_way(server: Server) -> None:
    env = await server.from_template("VXLAN")
    created = await env.api.post("containers", {"imageUuid": "docker:nginx"})
    await env.add_host("h1")
    container = await env.until("instance", number(created.json["id"]), "running")
    assert container["primaryNetworkId"] == (await env.network("vxlan")).id


async def test_services_find_names_of_their_stack_first(server: Server) -> None:
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    stack = (await env.api.post("stacks", {"name": "Shop"})).json
    launch: dict[str, Any] = {"imageUuid": "docker:nginx", "dnsSearch": ["example.com"], "dns": ["192.0.2.1"]}
    silent = {**launch, "labels": {"io.rancher.container.dns": "false"}}
    bare = {**launch, "labels": {"io.rancher.container.dns.priority": "None"}}
    asked = {**launch, "labels": {"io.rancher.container.dns": "true"}}
    found = {}
    for name, config in (("web", launch), ("silent", silent), ("bare", bare), ("asked", asked)):
        body = {"name": name, "stackId": stack["id"], "startOnCreate": True, "launchConfig": config}
        service = number((await env.api.post("services", body)).json["id"])
        row = await env.until("service", service, "active")
        (container,) = await env.containers(row)
        found[name] = (container["dnsInternal"], container["dnsSearchInternal"])
    servers = "192.0.2.1,169.254.169.250"
    own = "shop.rancher.internal"
    assert found["web"] == (servers, f"example.com,{own},web.{own},rancher.internal")
    assert found["asked"] == (servers, f"example.com,{own},asked.{own},rancher.internal")
    assert found["bare"] == (servers, "example.com")
    assert found["silent"] == (None, None)


async def test_own_templates_may_bring_their_own_files(server: Server) -> None:
    body = {"name": "tools", "stacks": [{"name": "tool", "dockerCompose": OWN_COMPOSE}]}
    created = await server.api.post("projecttemplates", body)
    assert created.status == 201, created.json
    env = await server.create_environment("x", projectTemplateId=created.json["id"])
    await env.add_host("h1")
    await complete(env, 1)
    stack = await env.stack("tool")
    assert stack["system"]
    assert stack["externalId"].startswith("compose://")
    await env.service("tool", "tool")


async def test_a_template_that_makes_no_sense_is_refused(server: Server) -> None:
    for stacks, code in (
        ([{"name": "a b", "dockerCompose": "x"}], "InvalidCharacters"),
        ([{"name": "a"}], "MissingRequired"),
        ([{"name": "a", "dockerCompose": "x"}, {"name": "A", "dockerCompose": "x"}], "NotUnique"),
        ([{"name": "a", "dockerCompose": "x" * (1024 * 1024 + 1)}], "MaxLengthExceeded"),
    ):
        answer = await server.api.post("projecttemplates", {"name": "t", "stacks": stacks})
        assert (answer.status, answer.json["code"]) == (422, code)


async def test_an_unknown_entry_does_not_keep_the_others_away(server: Server) -> None:
    stacks = [
        {"name": "gone", "templateId": "library:infra*gone"},
        {"name": "healthcheck", "templateId": "library:infra*healthcheck"},
    ]
    created = await server.api.post("projecttemplates", {"name": "half", "stacks": stacks})
    env = await server.create_environment("x", projectTemplateId=created.json["id"])
    await complete(env, 1)
    assert (await env.stack("healthcheck"))["externalId"] == "catalog://library:infra*healthcheck:0"


async def test_a_service_without_its_network_says_so_and_tries_slowly(server: Server) -> None:
    env = await server.create_environment("plain")
    await env.add_host("h1")
    stack = (await env.api.post("stacks", {"name": "shop"})).json
    launch = {"imageUuid": "docker:nginx", "networkMode": "nowhere"}
    body = {"name": "web", "stackId": stack["id"], "startOnCreate": True, "launchConfig": launch}
    service = number((await env.api.post("services", body)).json["id"])

    async def told() -> bool:
        row = await env.store.get("service", service)
        return row is not None and "networkMode nowhere" in str(row["transitioningMessage"])

    async def several() -> list[Record]:
        rows = await env.store.find_by("instance", serviceId=service)
        return rows if len(rows) >= 4 else []

    await env.eventually(told)
    created = sorted(int(each["created"]) for each in await env.eventually(several))
    assert created[3] - created[0] >= 900


async def test_an_environment_goes_with_its_infrastructure(server: Server) -> None:
    env = await server.from_template("VXLAN")
    await env.add_host("h1")
    await env.service("vxlan", "vxlan")
    await env.run(name="web")
    answer = await server.api.delete(f"projects/1a{env.id}")
    assert answer.status == 200, answer.json
    await env.until("account", env.id, "removed")
    for type_name in ("stack", "service", "network", "networkDriver", "subnet", "instance", "host"):
        left = await server.store.find_by(type_name, accountId=env.id, removed=None)
        assert not left, left
    assert not await server.store.claimed("mac-prefix:")


async def test_an_administrators_edit_of_a_template_stays(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        plain = await server.template("Plain")
        edited = await server.api.put(f"projecttemplates/{plain['id']}", {"description": "ours"})
        assert edited.status == 200, edited.json
    async with serving(tmp_path) as server:
        assert (await server.template("Plain"))["description"] == "ours"
        assert len((await server.api.get("projecttemplates")).json["data"]) == 3
