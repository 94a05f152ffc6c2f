"""Plan and apply over an environment in memory, whose services change state as the API's do."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from drover.client.api import Filters
from drover.client.apply import Applied, ApplyError, Phase, apply
from drover.client.errors import ClientError, TransitionFailed
from drover.client.plan import ApplyOptions, Mode, PlanError, Step, make_plan
from drover.client.resource import Resource
from drover.client.wait import Goal
from drover.compose import ComposeProject, SourceFile, load_project

pytestmark = pytest.mark.anyio

ACTIONS = {
    "inactive": ["activate", "upgrade"],
    "active": ["deactivate", "upgrade"],
    "upgraded": ["finishupgrade", "rollback"],
}
OUTCOMES = {"activate": "active", "upgrade": "upgraded", "finishupgrade": "active", "rollback": "active"}


class MemoryApi:
    """The protocol over dictionaries; `calls` records every write in order."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.reads = 0
        self.broken: set[str] = set()
        self.settings = {"lb.instance.image": "rancher/lb-service-haproxy:v0.9.14"}

    async def find(self, type_name: str, filters: Filters) -> list[Resource]:
        self.reads += 1
        found = (
            row
            for row in self.rows.values()
            if (row["type"] == type_name or (type_name == "service" and row["type"].endswith("Service")))
            and all(row.get(name) == value for name, value in filters.items())
        )
        return [Resource(dict(row)) for row in found]

    async def setting(self, name: str) -> str:
        return self.settings.get(name, "")

    async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource:
        assert not contains_reference(body)
        resource_id = f"{type_name}-{body.get('name', len(self.rows))}"
        state = "inactive" if type_name == "service" or type_name.endswith("Service") else "active"
        self.rows[resource_id] = {"state": state, "transitioning": "no", **body, "id": resource_id, "type": type_name}
        self.calls.append(("create", resource_id, body))
        return self._show(resource_id)

    async def update(self, resource: Resource, changes: Mapping[str, Any]) -> Resource:
        self.rows[resource.id].update(changes)
        self.calls.append(("update", resource.id, changes))
        return self._show(resource.id)

    async def delete(self, resource: Resource) -> None:
        del self.rows[resource.id]
        self.calls.append(("delete", resource.id, None))

    async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource:
        row = self.rows[resource.id]
        self.calls.append((name, resource.id, body))
        if name == "setservicelinks":
            links = (body or {})["serviceLinks"]
            row["linkedServices"] = {link["name"]: link["serviceId"] for link in links}
            return self._show(resource.id)
        assert name in ACTIONS[row["state"]], f"{name} is not available in {row['state']}"
        if row["name"] in self.broken:
            row.update(state="activating", transitioning="error", transitioningMessage="no host has room")
        else:
            row["state"] = OUTCOMES[name]
        return self._show(resource.id)

    async def wait(self, resource: Resource, goal: Goal) -> Resource:
        await asyncio.sleep(0)
        current = self._show(resource.id)
        if current.failed:
            raise TransitionFailed(current)
        assert goal(current), f"{current.label} would wait for ever in {current.state}"
        return current

    def _show(self, resource_id: str) -> Resource:
        row = self.rows[resource_id]
        actions = dict.fromkeys(ACTIONS.get(row["state"], []), "x")
        return Resource({**row, "actions": actions})

    def names(self, *verbs: str) -> list[str]:
        return [resource_id for verb, resource_id, _ in self.calls if verb in verbs]


def contains_reference(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(contains_reference(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(contains_reference(inner) for inner in value)
    return not isinstance(value, str | int | float | bool | None)


def compose(text: str, name: str = "shop") -> ComposeProject:
    files = [SourceFile("docker-compose.yml", "version: '2'\n" + text)]
    return load_project(files=files, rancher_files=[], variables={}, stack_name=name, source=None)


SHOP = """
services:
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    lb_config: {port_rules: [{source_port: 80, target_port: 8080, service: web}]}
  web:
    image: web:1
    links: [db]
  db:
    image: db:1
    links: ["web:frontend"]
volumes:
  data: {driver: local}
"""


async def up(api: MemoryApi, text: str, seen: list[tuple[str, Phase]] | None = None, **options: Any) -> Applied:
    def report(name: str, phase: Phase, _text: str) -> None:
        if seen is not None:
            seen.append((name, phase))

    plan = await make_plan(api, compose(text), ApplyOptions(**options))
    return await apply(api, plan, report=report)


async def test_create_then_link_then_start_in_order() -> None:
    api = MemoryApi()
    applied = await up(api, SHOP)
    verbs = [verb for verb, _, _ in api.calls]
    assert verbs == ["create"] * 5 + ["setservicelinks"] * 2 + ["activate"] * 3
    assert api.names("create")[:2] == ["stack-shop", "volumeTemplate-data"]
    # A balancer can only be created when its target has an id.
    assert api.names("create")[-1] == "loadBalancerService-lb"
    rules = api.rows["loadBalancerService-lb"]["lbConfig"]["portRules"]
    assert rules[0]["serviceId"] == "service-web"
    # Circular links are fine; the order of starting follows those that close no circle.
    assert api.rows["service-db"]["linkedServices"] == {"frontend": "service-web"}
    assert api.names("activate").index("loadBalancerService-lb") == 2
    assert {service.state for service in applied.services.values()} == {"active"}


async def test_new_services_are_created_stopped() -> None:
    api = MemoryApi()
    await up(api, SHOP, start=False)
    created = [body for verb, _, body in api.calls if verb == "create" and "launchConfig" in body]
    assert {body["startOnCreate"] for body in created} == {False}
    assert api.names("activate") == []


async def test_start_on_create_false_is_honoured() -> None:
    api = MemoryApi()
    await up(api, "services: {job: {image: x, start_on_create: false}, web: {image: y}}")
    assert api.names("activate") == ["service-web"]


async def test_a_second_run_changes_nothing() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    api.calls.clear()
    await up(api, SHOP, mode=Mode.UPGRADE)
    assert api.calls == []


async def test_an_unfinished_run_is_completed() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    del api.rows["service-db"]
    api.rows["service-web"]["state"] = "inactive"
    api.calls.clear()
    await up(api, SHOP)
    assert api.names("create") == ["service-db"]
    assert set(api.names("activate")) == {"service-db", "service-web"}


async def test_differences_are_only_reported_without_upgrade() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    api.calls.clear()
    plan = await make_plan(api, compose(SHOP.replace("web:1", "web:2")), ApplyOptions())
    steps = {step.name: step for step in plan.steps}
    assert steps["web"].step is Step.OUTDATED
    assert steps["web"].details == ("launchConfig.imageUuid: docker:web:1 -> docker:web:2",)
    assert steps["db"].step is Step.KEEP
    await apply(api, plan)
    assert api.calls == []


async def test_upgrade_sends_what_changed() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    api.calls.clear()
    await up(api, SHOP.replace("web:1", "web:2"), mode=Mode.UPGRADE, interval_millis=0)
    ((verb, resource_id, body),) = api.calls
    assert (verb, resource_id) == ("upgrade", "service-web")
    strategy = body["inServiceStrategy"]
    assert (strategy["batchSize"], strategy["intervalMillis"], strategy["startFirst"]) == (2, 0, False)
    assert strategy["launchConfig"]["imageUuid"] == "docker:web:2"
    assert api.rows["service-web"]["state"] == "upgraded"


async def test_confirm_finishes_the_upgrade() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    api.calls.clear()
    await up(api, SHOP.replace("web:1", "web:2"), mode=Mode.UPGRADE, confirm=True)
    assert [verb for verb, _, _ in api.calls] == ["upgrade", "finishupgrade"]
    assert api.rows["service-web"]["state"] == "active"


async def test_an_upgraded_service_is_finished_before_the_next_upgrade() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    await up(api, SHOP.replace("web:1", "web:2"), mode=Mode.UPGRADE)
    api.calls.clear()
    api.rows["service-web"]["launchConfig"] = {"imageUuid": "docker:web:2", "labels": {}}
    await up(api, SHOP.replace("web:1", "web:3"), mode=Mode.UPGRADE)
    assert [verb for verb, _, _ in api.calls] == ["finishupgrade", "upgrade"]


async def test_rollback_touches_only_what_was_upgraded() -> None:
    api = MemoryApi()
    await up(api, SHOP)
    await up(api, SHOP.replace("web:1", "web:2"), mode=Mode.UPGRADE)
    api.calls.clear()
    await up(api, SHOP, mode=Mode.ROLLBACK)
    assert [(verb, resource_id) for verb, resource_id, _ in api.calls] == [("rollback", "service-web")]


async def test_rollback_of_a_stack_that_does_not_exist() -> None:
    with pytest.raises(PlanError, match="no stack 'shop'"):
        await up(MemoryApi(), SHOP, mode=Mode.ROLLBACK)


async def test_force_upgrades_what_has_containers() -> None:
    api = MemoryApi()
    text = "services: {web: {image: web:1}, outside: {image: rancher/external-service, external_ips: [10.0.0.1]}}"
    await up(api, text)
    api.calls.clear()
    await up(api, text, mode=Mode.FORCE)
    assert api.names("upgrade") == ["service-web"]
    assert api.calls[-1][2]["inServiceStrategy"]["launchConfig"]["imageUuid"] == "docker:web:1"


async def test_a_service_change_is_an_update_and_leaves_the_scale() -> None:
    api = MemoryApi()
    await up(api, "services: {web: {image: web:1, scale: 2, metadata: {a: 1}}}")
    api.rows["service-web"]["scale"] = 7
    api.calls.clear()
    await up(api, "services: {web: {image: web:1, scale: 2, metadata: {a: 2}}}", mode=Mode.UPGRADE)
    ((verb, _, body),) = api.calls
    assert verb == "update"
    assert body["metadata"]["a"] == 2
    assert "scale" not in body
    assert "launchConfig" not in body


async def test_a_failure_stops_dependents_only() -> None:
    api = MemoryApi()
    api.broken = {"db"}
    seen: list[tuple[str, Phase]] = []
    text = "services: {web: {image: x, depends_on: [db]}, db: {image: y}, other: {image: z}}"
    with pytest.raises(ApplyError) as caught:
        await up(api, text, seen)
    assert set(caught.value.failures) == {"db", "web"}
    assert "no host has room" in str(caught.value.failures["db"])
    assert "not started, because db failed" in str(caught.value.failures["web"])
    assert api.rows["service-other"]["state"] == "active"
    assert ("web", Phase.FAILED) in seen


async def test_a_service_that_cannot_be_created_takes_its_balancer_along() -> None:
    class Refusing(MemoryApi):
        async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource:
            if body.get("name") == "web":
                raise ClientError("quota")
            return await super().create(type_name, body)

    with pytest.raises(ApplyError) as caught:
        await up(Refusing(), SHOP)
    assert "quota" in str(caught.value.failures["web"])
    assert "it needs web" in str(caught.value.failures["lb"])


PROBLEMS = """
services:
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    lb_config:
      certs: [missing-cert]
      port_rules: [{source_port: 443, protocol: https, target_port: 80, service: other/gone}]
  web:
    image: x
    external_links: [other/db]
    secrets: [password]
secrets:
  password: {external: true}
volumes:
  data: {driver: nfs}
"""


async def test_all_problems_are_found_before_the_first_write() -> None:
    api = MemoryApi()
    await api.create("stack", {"name": "shop"})
    await api.create("volumeTemplate", {"name": "data", "driver": "local", "stackId": "stack-shop"})
    await api.create("loadBalancerService", {"name": "web", "stackId": "stack-shop"})
    api.calls.clear()
    with pytest.raises(PlanError) as caught:
        await make_plan(api, compose(PROBLEMS), ApplyOptions(services=frozenset({"web", "nobody"})))
    text = str(caught.value)
    assert "No such service: nobody" in text
    assert "Failed to find certificate missing-cert" in text
    assert "Failed to find existing service: other/gone" in text
    assert "Existing secret password not found" in text
    assert 'Volume "data" needs to be recreated' in text
    assert "web exists as loadBalancerService, but the files make it service" in text
    assert api.calls == []


async def test_a_missing_link_target_is_a_warning() -> None:
    plan = await make_plan(
        MemoryApi(), compose("services: {web: {image: x, external_links: [other/db]}}"), ApplyOptions()
    )
    assert plan.warnings == ("the link to other/db is left out: there is no such service",)


async def test_links_to_another_stack() -> None:
    api = MemoryApi()
    await api.create("stack", {"name": "other"})
    await api.create("service", {"name": "db", "stackId": "stack-other"})
    await up(api, "services: {web: {image: x, external_links: ['other/db:store']}}")
    assert api.rows["service-web"]["linkedServices"] == {"store": "service-db"}


async def test_only_chosen_services_are_touched() -> None:
    api = MemoryApi()
    await up(api, SHOP, services=frozenset({"db", "web"}))
    assert api.names("activate") == ["service-db", "service-web"]
    assert "loadBalancerService-lb" not in api.rows


async def test_prune_removes_what_no_file_has() -> None:
    api = MemoryApi()
    await up(api, "services: {web: {image: x}, old: {image: y}}")
    api.calls.clear()
    await up(api, "services: {web: {image: x}}", prune=True)
    assert api.names("delete") == ["service-old"]


async def test_the_legacy_balancer_takes_its_image_from_the_server() -> None:
    api = MemoryApi()
    text = "services: {lb: {image: rancher/load-balancer-service, ports: ['80'], links: [web]}, web: {image: x}}"
    await up(api, text)
    image = api.rows["loadBalancerService-lb"]["launchConfig"]["imageUuid"]
    assert image == "docker:rancher/lb-service-haproxy:v0.9.14"


async def test_a_plan_costs_few_requests() -> None:
    api = MemoryApi()
    services = "\n".join(f"  s{number}: {{image: x, links: [s{(number + 1) % 50}]}}" for number in range(50))
    await up(api, "services:\n" + services)
    api.reads = 0
    await make_plan(api, compose("services:\n" + services), ApplyOptions())
    assert api.reads == 3


async def test_waiting_for_health_goes_on_when_healthy() -> None:
    class Healthy(MemoryApi):
        async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource:
            await super().action(resource, name, body)
            if name == "activate":
                self.rows[resource.id]["healthState"] = "healthy"
            return self._show(resource.id)

    seen: list[tuple[str, Phase]] = []
    text = """
services:
  web: {image: x, depends_on: {db: {condition: service_healthy}}}
  db: {image: y}
"""
    await up(Healthy(), text, seen)
    order: Sequence[tuple[str, Phase]] = seen
    assert order.index(("db", Phase.HEALTH)) < order.index(("web", Phase.STARTING))


async def test_pull_comes_before_the_upgrade() -> None:
    class Pulling(MemoryApi):
        async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource:
            created = await super().create(type_name, body)
            if type_name == "pullTask":
                self.rows[created.id]["status"] = {"host1": "Done", "host2": self.outcome}
            return created

        outcome = "Done"

    api = Pulling()
    await up(api, "services: {web: {image: web:1}}")
    api.calls.clear()
    await up(api, "services: {web: {image: web:2}}", mode=Mode.UPGRADE, pull=True, confirm=True)
    assert [verb for verb, _, _ in api.calls] == ["create", "upgrade", "finishupgrade"]
    assert api.calls[0][2]["image"] == "web:2"
    api.outcome = "no such image"
    with pytest.raises(ApplyError, match="host2: no such image"):
        await up(api, "services: {web: {image: web:3}}", mode=Mode.UPGRADE, pull=True)
