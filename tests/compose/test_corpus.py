"""Stacks in the manner of the public community catalogs, 25 of them, with what they must amount to.

Each folder shows what one kind of catalog item does to a parser: both file versions, balancers in both forms, nested
sidekicks, anchors, duplicate keys, answers as numbers, leftovers in rancher-compose.yml.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drover.compose import (
    ComposeProject,
    ExportNames,
    ServiceName,
    ServicePlan,
    diff_service,
    export_stack,
    plan_services,
    resolve,
    volume_bodies,
)
from drover.compose.hash import HASH_KEY, launch_config_hash, service_hash
from drover.compose.references import Body, Reference, ServiceRef, SettingRef, references

CORPUS = Path(__file__).parent / "data" / "corpus"
EXPECTED = json.loads((CORPUS / "expected.json").read_text())
IDS = [stack["name"] for stack in EXPECTED]
LB_IMAGE = "rancher/lb-service-haproxy:v0.9.14"


def read(name: str, load: Callable) -> ComposeProject:
    folder = CORPUS / name
    return load((folder / "docker-compose.yml").read_text(), (folder / "rancher-compose.yml").read_text())


def lookup(reference: Reference) -> str:
    return LB_IMAGE if isinstance(reference, SettingRef) else f"{type(reference).__name__}:{reference}"


def resources(plans: tuple[ServicePlan, ...]) -> list[Body]:
    """The services as an API would show them."""
    found = []
    for plan in plans:
        linked = {link.name: f"ServiceRef:{link.target}" for link in plan.links or ()}
        body = resolve(plan.body, lookup)
        found.append({**body, "id": f"ServiceRef:{plan.name}", "type": plan.kind.value, "linkedServices": linked})
    return found


def names_for(plans: tuple[ServicePlan, ...], stack: str) -> ExportNames:
    everything = [ref for plan in plans for ref in references(plan.body)]
    everything += [link.target for plan in plans for link in plan.links or () if link.target]
    by_type: dict[str, dict[str, Any]] = {}
    for ref in everything:
        named = ServiceName(ref.stack or stack, ref.name) if isinstance(ref, ServiceRef) else ref.name
        by_type.setdefault(type(ref).__name__, {})[lookup(ref)] = named
    return ExportNames(
        services=by_type.get("ServiceRef", {}),
        certificates=by_type.get("CertificateRef", {}),
        secrets=by_type.get("SecretRef", {}),
    )


def without_hashes(value: Any) -> Any:
    """A service as the UI makes it."""
    if isinstance(value, dict):
        return {key: without_hashes(inner) for key, inner in value.items() if key != HASH_KEY}
    return [without_hashes(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("expected", EXPECTED, ids=IDS)
def test_the_stack_amounts_to_what_is_documented(expected: dict[str, Any], load: Callable) -> None:
    project = read(expected["name"], load)
    plans = {plan.name: plan for plan in plan_services(project)}
    assert set(plans) == {service["name"] for service in expected["services"]}
    for service in expected["services"]:
        plan = plans[service["name"]]
        body, config = plan.body, plan.body["launchConfig"]
        assert plan.kind.value == service["kind"]
        assert [one["name"] for one in body["secondaryLaunchConfigs"]] == service.get("sidekicks", [])
        if "scale" in service:
            assert body["scale"] == service["scale"]
        if "healthCheck" in service:
            assert config["healthCheck"]["port"] == service["healthCheck"]
        if "portRules" in service:
            assert len(body["lbConfig"]["portRules"]) == service["portRules"]
        if service.get("global"):
            assert config["labels"]["io.rancher.scheduler.global"] == "true"
        if service["legacy"]:
            assert isinstance(config["imageUuid"], SettingRef)
            assert body["lbConfig"]["portRules"]
    assert sorted(volume["name"] for volume in volume_bodies(project)) == expected["volumeTemplates"]
    assert list(project.secrets) == expected["secrets"]


@pytest.mark.parametrize("name", IDS)
def test_export_and_import_give_the_same_stack(name: str, load: Callable) -> None:
    project = read(name, load)
    first = plan_services(project)
    services = resources(first)
    names = names_for(first, project.name)
    volumes = volume_bodies(project)
    files = export_stack(stack_name=project.name, services=services, volume_templates=volumes, names=names)
    again = load(files.docker_compose, files.rancher_compose)
    second = plan_services(again)
    by_name = {plan.name: plan for plan in second}
    assert set(by_name) == {plan.name for plan in first}
    for plan in first:
        before, after = resolve(plan.body, lookup), resolve(by_name[plan.name].body, lookup)
        assert after["launchConfig"] == {**before["launchConfig"], "labels": after["launchConfig"]["labels"]}
        assert service_hash(after) == service_hash(before)
        assert launch_config_hash(after["launchConfig"]) == launch_config_hash(before["launchConfig"])
        assert [launch_config_hash(one) for one in after["secondaryLaunchConfigs"]] == [
            launch_config_hash(one) for one in before["secondaryLaunchConfigs"]
        ]
        assert by_name[plan.name].links == plan.links or set(by_name[plan.name].links) == set(plan.links)
    assert sorted(volume_bodies(again), key=str) == sorted(volumes, key=str)
    twice = export_stack(
        stack_name=project.name,
        services=list(reversed(resources(second))),
        volume_templates=volume_bodies(again),
        names=names_for(second, project.name),
    )
    assert twice == files


@pytest.mark.parametrize("name", IDS)
def test_nothing_to_do_for_an_unchanged_stack(name: str, load: Callable) -> None:
    plans = plan_services(read(name, load))
    for plan, live in zip(plans, resources(plans), strict=True):
        change = diff_service(plan, live, body=resolve(plan.body, lookup))
        assert not change
        assert change.details == ()
        assert not diff_service(plan, without_hashes(live), body=resolve(plan.body, lookup))


def test_reading_is_deterministic(load: Callable) -> None:
    for name in IDS:
        assert plan_services(read(name, load)) == plan_services(read(name, load))
