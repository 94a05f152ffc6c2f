"""Live services as compose files."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import ExportNames, ServiceName, export_stack, plan_services
from drover.compose.emit import dump
from drover.compose.errors import Problems
from drover.compose.nodes import to_plain
from drover.compose.yaml import parse

NAMES = ExportNames(
    services={"1s1": ServiceName("shop", "web"), "1s2": ServiceName("shop", "db"), "1s3": ServiceName("other", "api")},
    certificates={"1c1": "cert"},
    secrets={"1se1": "password"},
    containers={"1i1": "box"},
)


def export(*services: dict[str, Any], volumes: tuple[dict[str, Any], ...] = ()) -> tuple[dict, dict]:
    files = export_stack(stack_name="shop", services=services, volume_templates=volumes, names=NAMES)
    assert "\r" not in files.docker_compose
    for text in (files.docker_compose, files.rancher_compose):
        assert text.startswith("version: '2'\n")
    return pyyaml.safe_load(files.docker_compose), pyyaml.safe_load(files.rancher_compose)


def service(launch_config: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    config = {"imageUuid": "docker:nginx", "networkMode": "managed", **(launch_config or {})}
    return {"name": "web", "type": "service", "launchConfig": config, **fields}


def test_nothing_to_say() -> None:
    files = export_stack(stack_name="s", services=[], volume_templates=[], names=ExportNames())
    assert files.docker_compose == files.rancher_compose == "version: '2'\n"


def test_unset_values_are_omitted() -> None:
    config = {"tty": False, "dns": [], "environment": {}, "memory": None, "user": "", "drainTimeoutMs": 0}
    docker, rancher = export(service(config, scale=None, metadata={"io.rancher.service.hash": "x"}, retainIp=False))
    assert docker["services"] == {"web": {"image": "nginx"}}
    assert "services" not in rancher


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        ({"stopTimeout": 10}, "stop_grace_period", "10s"),
        ({"networkMode": "host"}, "network_mode", "host"),
        ({"networkMode": "container", "networkLaunchConfig": "a"}, "network_mode", "container:a"),
        ({"networkMode": "container", "networkContainerId": "1i1"}, "network_mode", "container:box"),
        ({"dataVolumesFromLaunchConfigs": ["a"], "dataVolumesFrom": ["1i1"]}, "volumes_from", ["a", "box"]),
        ({"tmpfs": {"/a": "", "/b": "size=1"}}, "tmpfs", ["/a", "/b:size=1"]),
        ({"ulimits": [{"name": "n", "soft": 1}]}, "ulimits", {"n": 1}),
        ({"ulimits": [{"name": "n", "soft": 1, "hard": 2}]}, "ulimits", {"n": {"soft": 1, "hard": 2}}),
        ({"logConfig": {"driver": "x", "config": {"a": "b"}}}, "logging", {"driver": "x", "options": {"a": "b"}}),
        ({"restartPolicy": {"name": "on-failure", "maximumRetryCount": 3}}, "restart", "on-failure:3"),
        ({"restartPolicy": {"name": "always", "maximumRetryCount": 0}}, "restart", "always"),
        ({"blkioDeviceOptions": {"/d": {"readBps": 5, "weight": None}}}, "device_read_bps", {"/d": 5}),
        ({"labels": {"a": "b", "io.rancher.service.hash": "x"}}, "labels", {"a": "b"}),
        ({"command": ["echo", "$HOME"]}, "command", ["echo", "$$HOME"]),
        ({"secrets": [{"secretId": "1se1", "name": "password"}]}, "secrets", ["password"]),
        (
            {"secrets": [{"secretId": "1se1", "name": "x", "uid": "0", "gid": "0", "mode": "444"}]},
            "secrets",
            [{"source": "password", "target": "x", "uid": "0", "gid": "0", "mode": "0444"}],
        ),
        ({"healthCmd": ["CMD", "x"], "healthInterval": 5}, "healthcheck", {"test": ["CMD", "x"], "interval": "5s"}),
        ({"imageUuid": "sim:x"}, "image", "sim:x"),
    ],
)
def test_launch_config_keys(config: dict[str, Any], key: str, value: object) -> None:
    docker, _ = export(service(config))
    assert docker["services"]["web"][key] == value
    if key == "secrets":
        assert docker["secrets"] == {"password": {"external": "true"}}


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        ({"scale": 3}, "scale", 3),
        ({"startOnCreate": True}, "start_on_create", True),
        ({"description": "d"}, "description", "d"),
        ({"metadata": {"a": {"b": "$x"}}}, "metadata", {"a": {"b": "$$x"}}),
        ({"scalePolicy": {"min": 1, "max": None, "type": "scalePolicy"}}, "scale_policy", {"min": 1}),
        (
            {"networkDriver": {"name": "n", "cniConfig": {"f": {"someKey": 1}}, "defaultNetwork": {"hostPorts": True}}},
            "network_driver",
            {"name": "n", "cni_config": {"f": {"someKey": 1}}, "default_network": {"host_ports": True}},
        ),
        ({"storageDriver": {"volumeAccessMode": "x", "id": "1"}}, "storage_driver", {"volume_access_mode": "x"}),
        (
            {"lbConfig": {"portRules": [{"hostname": "h", "targetPort": 80, "serviceId": None}]}},
            "lb_config",
            {"port_rules": [{"hostname": "h", "target_port": 80}]},
        ),
    ],
)
def test_service_keys(fields: dict[str, Any], key: str, value: object) -> None:
    _, rancher = export(service(**fields))
    assert rancher["services"]["web"] == {key: value}


def test_balancers() -> None:
    config = {
        "certificateIds": ["1c1"],
        "defaultCertificateId": "1c1",
        "config": "text",
        "stickinessPolicy": {"name": "n", "postonly": True, "domain": None},
        "portRules": [
            {"sourcePort": 80, "serviceId": "1s1", "targetPort": 8080, "protocol": "http"},
            {"sourcePort": 81, "serviceId": "1s3"},
            {"sourcePort": 82, "serviceId": "1s99"},
        ],
    }
    lb = {
        "name": "lb",
        "type": "loadBalancerService",
        "launchConfig": {},
        "lbConfig": config,
        "linkedServices": {"a": "1s1"},
    }
    docker, rancher = export(lb)
    assert docker["services"]["lb"] == {"image": "rancher/load-balancer-service"}
    assert rancher["services"]["lb"]["lb_config"] == {
        "certs": ["cert"],
        "default_cert": "cert",
        "port_rules": [
            {"protocol": "http", "service": "web", "source_port": 80, "target_port": 8080},
            {"service": "other/api", "source_port": 81},
            {"service": "1s99", "source_port": 82},
        ],
        "config": "text",
        "stickiness_policy": {"name": "n", "postonly": True},
    }
    _, rancher = export({**lb, "lbConfig": {"portRules": [{"sourcePort": 1}]}})
    assert rancher["services"]["lb"]["lb_config"] == {"certs": [], "port_rules": [{"source_port": 1}]}


def test_links() -> None:
    docker, _ = export(service(linkedServices={"sql": "1s2", "api": "1s3", "web": "1s1"}))
    assert docker["services"]["web"]["links"] == ["db:sql", "web:web"]
    assert docker["services"]["web"]["external_links"] == ["other/api:api"]


def test_external_and_dns_services() -> None:
    docker, rancher = export(
        {
            "name": "ext",
            "type": "externalService",
            "launchConfig": {"hostname": "h"},
            "hostname": "h",
            "externalIpAddresses": ["1.1.1.1"],
            "healthCheck": {"port": 80},
        },
        {"name": "dns", "type": "dnsService", "launchConfig": None, "linkedServices": {"db": "1s2"}},
    )
    assert docker["services"] == {
        "dns": {"image": "rancher/dns-service", "links": ["db:db"]},
        "ext": {"image": "rancher/external-service"},
    }
    assert rancher["services"]["ext"] == {"hostname": "h", "external_ips": ["1.1.1.1"], "health_check": {"port": 80}}


def test_sidekicks_follow_their_primary_and_keep_only_their_own_keys() -> None:
    side = {"name": "a-side", "imageUuid": "docker:x", "healthCheck": {"port": 1, "requestLine": None}}
    files = export_stack(
        stack_name="shop",
        services=[
            service(name="z"),
            service({"labels": {"io.rancher.sidekicks": "old"}}, secondaryLaunchConfigs=[side], scale=2),
        ],
        volume_templates=[],
        names=NAMES,
    )
    docker = pyyaml.safe_load(files.docker_compose)
    assert list(docker["services"]) == ["web", "a-side", "z"]
    assert docker["services"]["web"]["labels"] == {"io.rancher.sidekicks": "a-side"}
    assert pyyaml.safe_load(files.rancher_compose)["services"] == {
        "web": {"scale": 2},
        "a-side": {"health_check": {"port": 1}},
    }


def test_global_services_have_no_scale() -> None:
    _, rancher = export(service({"labels": {"io.rancher.scheduler.global": "true"}}, scale=5, retainIp=True))
    assert rancher["services"]["web"] == {"retain_ip": True}


def test_selector_labels_come_from_the_fields() -> None:
    docker, _ = export(service(selectorLink="a=b", selectorContainer="c"))
    assert docker["services"]["web"]["labels"] == {
        "io.rancher.service.selector.link": "a=b",
        "io.rancher.service.selector.container": "c",
    }


def test_volume_templates_and_older_volume_drivers() -> None:
    docker, _ = export(
        service({"volumeDriver": "nfs", "dataVolumes": ["data:/a", "/b:/b", "/c", "both:/d"]}),
        volumes=({"name": "both", "driver": "efs", "driverOpts": {"a": "$b"}, "perContainer": True},),
    )
    assert "volume_driver" not in docker["services"]["web"]
    assert docker["volumes"] == {
        "data": {"driver": "nfs", "external": True},
        "both": {"driver": "efs", "driver_opts": {"a": "$$b"}, "per_container": True},
    }
    docker, _ = export(service({"volumeDriver": "nfs", "dataVolumes": ["/b:/b"]}))
    assert docker["services"]["web"]["volume_driver"] == "nfs"


def test_braces_are_protected_from_templates(load: Callable) -> None:
    body = {"imageUuid": "docker:a", "command": ["{{.ID}}"], "networkMode": "managed"}
    files = export_stack(
        stack_name="s", services=[{"name": "web", "launchConfig": body}], volume_templates=[], names=NAMES
    )
    assert files.docker_compose.startswith("# notemplating\nversion: '2'\n")
    assert load(files.docker_compose).services["web"].command == ("{{.ID}}",)


TEXTS = st.text(max_size=20) | st.sampled_from(
    [
        "y",
        "N",
        "on",
        "22:22",
        "0o17",
        "010",
        "1e3",
        "~",
        "=",
        "2018-01-01",
        "a: b",
        "# x",
        "l1\nl2\n",
        " x ",
        "1_0",
        "<<",
        "\t",
    ]
)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, TEXTS | st.integers(-(2**63), 2**64 - 1) | st.booleans() | st.lists(TEXTS, max_size=3)))
def test_what_is_written_reads_the_same(document: dict[str, Any]) -> None:
    assert to_plain(parse(dump(document), file="f", problems=Problems())) == document


@settings(deadline=None)
@given(
    st.lists(TEXTS.filter(bool), min_size=1, max_size=4),
    st.dictionaries(TEXTS.filter(lambda t: t.strip() and "=" not in t), TEXTS, max_size=3),
)
def test_any_text_survives_export_and_import(load: Callable, words: list[str], environment: dict[str, str]) -> None:
    body = {"imageUuid": "docker:a", "command": words, "environment": environment, "networkMode": "managed"}
    files = export_stack(
        stack_name="s", services=[{"name": "web", "launchConfig": body}], volume_templates=[], names=NAMES
    )
    again = plan_services(load(files.docker_compose, files.rancher_compose))[0].body["launchConfig"]
    assert again["command"] == words
    assert again.get("environment", {}) == environment
