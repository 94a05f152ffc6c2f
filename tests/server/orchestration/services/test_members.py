from __future__ import annotations

from typing import Any

from drover.server.orchestration.services.members import member_values
from drover.server.orchestration.services.spec import PRIMARY, ServiceSpec
from tests.server.orchestration.services.builders import service_spec


def values_of(spec: ServiceSpec, config: str = PRIMARY, **given: Any) -> dict[str, Any]:
    found = spec.config(config)
    assert found is not None
    arguments: dict[str, Any] = {
        "index": 3,
        "unit_uuid": "u",
        "create_index": 9,
        "siblings": {PRIMARY: 41},
        "requested_host_id": None,
        **given,
    }
    return member_values(spec, found, **arguments)


def test_names_labels_and_search_domains() -> None:
    values = values_of(service_spec(launchConfig={"labels": {"a": "b", "io.rancher.stack.name": "mine"}}))
    assert values["name"] == "shop-web-3"
    assert values["labels"] == {
        "a": "b",
        "io.rancher.stack.name": "mine",
        "io.rancher.stack_service.name": "shop/web",
        "io.rancher.project.name": "shop",
        "io.rancher.project_service.name": "shop/web",
        "io.rancher.service.deployment.unit": "u",
        "io.rancher.service.launch.config": "io.rancher.service.primary.launch.config",
    }
    assert values["dnsSearch"] == ["shop.rancher.internal", "web.shop.rancher.internal"]
    assert (values["serviceId"], values["stackId"], values["accountId"]) == (1, 2, 5)


def test_a_sidekick_is_named_after_its_launch_config_and_shares_the_network() -> None:
    side = {
        "name": "side",
        "imageUuid": "docker:side",
        "networkLaunchConfig": "web",
        "dataVolumesFromLaunchConfigs": ["web"],
    }
    values = values_of(service_spec(secondaryLaunchConfigs=[side]), "side")
    assert values["name"] == "shop-web-side-3"
    assert (values["networkMode"], values["networkContainerId"], values["dataVolumesFrom"]) == ("container", 41, [41])
    assert values["labels"]["io.rancher.stack_service.name"] == "shop/web/side"
    assert "networkLaunchConfig" not in values


def test_the_host_name_follows_the_container_name_and_fits() -> None:
    spec = service_spec(
        name="w" * 60,
        launchConfig={
            "labels": {"io.rancher.container.hostname_override": "container_name"},
            "domainName": "example.org",
        },
    )
    hostname = values_of(spec)["hostname"]
    assert len(f"{hostname}.example.org") <= 64
    assert hostname.endswith("-3")


def test_dns_labels_switch_the_search_domains_off_by_value() -> None:
    def domains(**labels: str) -> Any:
        return values_of(service_spec(launchConfig={"labels": labels})).get("dnsSearch")

    assert domains(**{"io.rancher.container.dns": "false"}) is None
    assert domains(**{"io.rancher.container.dns.priority": "None"}) is None
    assert domains(**{"io.rancher.container.dns": "true"}) is not None


def test_scheduling_labels_of_siblings_are_joined() -> None:
    side = {
        "name": "side",
        "imageUuid": "docker:side",
        "labels": {"io.rancher.scheduler.affinity:host_label": "zone=b", "own": "1"},
    }
    spec = service_spec(
        launchConfig={"labels": {"IO.Rancher.Scheduler.affinity:host_label": "ssd=true"}},
        secondaryLaunchConfigs=[side],
    )
    labels = values_of(spec)["labels"]
    assert labels["io.rancher.scheduler.affinity:host_label"] == "ssd=true,zone=b"
    assert "own" not in labels


def test_a_bare_service_name_means_the_own_stack() -> None:
    key = "io.rancher.scheduler.affinity:container_label_ne"
    spec = service_spec(launchConfig={"labels": {key: "io.rancher.stack_service.name=db,x=y"}})
    assert values_of(spec)["labels"][key] == "io.rancher.stack_service.name=shop/db,x=y"


def test_restarting_is_the_loops_business() -> None:
    spec = service_spec(launchConfig={"restartPolicy": {"name": "always"}})
    assert values_of(spec)["restartPolicy"] is None
