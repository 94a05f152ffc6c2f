"""The templates of the package: whole, deployable, and named as stacks of Rancher 1.6 are."""

from __future__ import annotations

from typing import Any

import pytest

from drover.compose import Kind, ServicePlan, SourceFile, load_project, plan_services
from drover.compose.check import SIDEKICKS_LABEL
from drover.compose.hash import launch_config_hash
from drover.server.orchestration.infrastructure.library import (
    StackTemplate,
    environment_templates,
    stack_templates,
    template_of,
)

NAMES = ("healthcheck", "ipsec", "network-services", "scheduler", "vxlan")
VARIABLES = {
    "DROVER_IMAGE": "drover:new",
    "DROVER_HOLDER_IMAGE": "drover:old",
    "DROVER_CHARON_IMAGE": "drover:charon",
    "DROVER_VERSION": "7",
}


def services_of(template: StackTemplate, **answers: str) -> dict[str, ServicePlan]:
    project = load_project(
        files=[SourceFile("docker-compose.yml", template.docker_compose)],
        rancher_files=[SourceFile("rancher-compose.yml", template.rancher_compose)],
        variables={**VARIABLES, **answers},
        stack_name=template.name,
        source=None,
    )
    assert not project.warnings
    return {plan.name: plan for plan in plan_services(project)}


def template(name: str) -> StackTemplate:
    return stack_templates()[f"library:infra*{name}"]


def configs(plan: ServicePlan) -> dict[str, dict[str, Any]]:
    sidekicks = {each["name"]: each for each in plan.body.get("secondaryLaunchConfigs", [])}
    return {plan.name: plan.body["launchConfig"], **sidekicks}


def test_all_are_there() -> None:
    assert sorted(each.name for each in stack_templates().values()) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_can_be_deployed_with_its_defaults(name: str) -> None:
    assert services_of(template(name))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_privileged(name: str) -> None:
    for plan in services_of(template(name)).values():
        assert not any(config.get("privileged") for config in configs(plan).values())


@pytest.mark.parametrize("name", NAMES)
def test_only_what_holds_a_network_keeps_its_image(name: str) -> None:
    """An upgrade of the program changes every launch config but those that hold or carry a network, and the driver's
    that runs nothing."""
    for plan in services_of(template(name)).values():
        for config_name, config in configs(plan).items():
            image = config["imageUuid"].removeprefix("docker:")
            versioned = config["labels"].get("io.drover.version") == "7"
            expected = {"cni-driver": "rancher/none", "charon": "drover:charon"}.get(config_name, "drover:new")
            holds = config["networkMode"] == name
            assert image == ("drover:old" if holds else expected)
            assert versioned == (image == "drover:new")


@pytest.mark.parametrize(
    ("name", "network", "overhead", "file"),
    [("vxlan", "vxlan", 50, "10-rancher-vxlan.conf"), ("ipsec", "ipsec", 150, "10-rancher.conf")],
)
def test_network_stacks_describe_their_network(name: str, network: str, overhead: int, file: str) -> None:
    services = services_of(template(name), MTU="9000", SUBNET="10.50.0.0/20", SUBNET_PREFIX="20", HOST_PORTS="false")
    holder, driver = services[name], services["cni-driver"]
    assert driver.kind is Kind.NETWORK_DRIVER
    assert [plan.name for plan in services.values() if plan.kind is Kind.NETWORK_DRIVER] == ["cni-driver"]
    described = driver.body["networkDriver"]["defaultNetwork"]
    assert (described["name"], described["hostPorts"]) == (network, False)
    assert described["subnets"] == [{"networkAddress": "10.50.0.0/20"}]
    assert (described["dns"], described["dnsSearch"]) == (["169.254.169.250"], ["rancher.internal"])
    config = driver.body["networkDriver"]["cniConfig"][file]
    assert (config["mtu"], config["linkMTUOverhead"], config["bridgeSubnet"]) == (9000, overhead, "10.50.0.0/20")
    assert config["ipam"]["subnetPrefixSize"] == "/20"
    labels = holder.body["launchConfig"]["labels"]
    assert labels["io.rancher.cni.link_mtu_overhead"] == "0"
    assert holder.body["launchConfig"]["networkMode"] == network
    assert all(each["networkLaunchConfig"] == name for each in holder.body["secondaryLaunchConfigs"])


def test_an_address_window_reaches_the_subnet() -> None:
    services = services_of(template("ipsec"), SUBNET_START_ADDRESS="10.42.8.1", SUBNET_END_ADDRESS="10.42.9.250")
    subnet = services["cni-driver"].body["networkDriver"]["defaultNetwork"]["subnets"][0]
    assert (subnet["startAddress"], subnet["endAddress"]) == ("10.42.8.1", "10.42.9.250")


def test_what_talks_to_the_server_has_an_agent() -> None:
    """The metadata server, the IPsec router, the scheduler and the checker; nobody else."""
    with_agent = {
        config_name
        for each in stack_templates().values()
        for plan in services_of(each).values()
        for config_name, config in configs(plan).items()
        if config["labels"].get("io.rancher.container.create_agent") == "true"
    }
    assert with_agent == {"metadata", "router", "scheduler", "healthcheck"}
    assert (
        "io.rancher.container.create_agent" not in configs(services_of(template("vxlan"))["vxlan"])["router"]["labels"]
    )


def test_the_template_of_a_stack_is_found_whatever_its_version() -> None:
    assert template_of("catalog://library:infra*vxlan:0") is template("vxlan")
    assert template_of("catalog://library:infra*vxlan:99") is template("vxlan")
    assert template_of("catalog://community:infra*vxlan:0") is None
    assert template_of("compose://123") is None
    assert template_of(None) is None


def test_environment_templates_name_templates_that_exist() -> None:
    found = {each.name: [entry["templateId"] for entry in each.stacks] for each in environment_templates()}
    assert set(found) == {"Cattle", "VXLAN", "Plain"}
    assert {each for ids in found.values() for each in ids} <= set(stack_templates())
    assert [each.rpartition("*")[2] for each in found["Cattle"]] == [
        "network-services",
        "ipsec",
        "scheduler",
        "healthcheck",
    ]
    assert found["Plain"] == []


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        ("vxlan", "0578009f5d7d97ae9378b618f6fa4b630058c832"),
        ("ipsec", "69b80bbc2c19cc5cac829fff40a83f47f155dd71"),
    ],
)
def test_a_holder_never_changes(name: str, fingerprint: str) -> None:
    """A version of the template with another holder would replace it, and with it addresses that all hosts know.

    Only which sidekicks it has may change: an upgrade does not replace the primary for that.
    """
    holder = configs(services_of(template(name))[name])[name]
    labels = {key: value for key, value in holder["labels"].items() if key != SIDEKICKS_LABEL}
    assert launch_config_hash({**holder, "labels": labels}) == fingerprint
