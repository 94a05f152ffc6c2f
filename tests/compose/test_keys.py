"""Every key of a service reaches the API field it is meant for, in both file versions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.compose import (
    ComposeError,
    ComposeProject,
    ExportNames,
    ServiceName,
    export_stack,
    plan_services,
    references,
    resolve,
)
from drover.compose.keys import KEYS, MISSPELLINGS
from drover.compose.model import Service
from drover.compose.references import to_wire

TABLE = json.loads((Path(__file__).parent / "data" / "service-keys.json").read_text())

#: key -> (YAML value, field of the API body, value there, other keys needed). `LC.` stands for the launch config.
SAMPLES: dict[str, tuple[str, str, Any, str]] = {
    "blkio_weight": ("300", "LC.blkioWeight", 300, ""),
    "blkio_weight_device": ("['/dev/sda:200']", "LC.blkioDeviceOptions", {"/dev/sda": {"weight": 200}}, ""),
    "build": ("https://x.test/a.git", "LC.build", {"remote": "https://x.test/a.git"}, ""),
    "cap_add": ("[NET_ADMIN]", "LC.capAdd", ["NET_ADMIN"], ""),
    "cap_drop": ("[MKNOD]", "LC.capDrop", ["MKNOD"], ""),
    "certs": ("[a]", "lbConfig.certificateIds", [{"type": "CertificateRef", "name": "a"}], "LEGACY"),
    "cgroup_parent": ("/x", "LC.cgroupParent", "/x", ""),
    "command": ("sh -c 'a b' # no", "LC.command", ["sh", "-c", "a b"], ""),
    "cpu_period": ("1000", "LC.cpuPeriod", 1000, ""),
    "cpu_quota": ("'2000'", "LC.cpuQuota", 2000, ""),
    "cpu_shares": ("512", "LC.cpuShares", 512, ""),
    "cpuset": ("0,1", "LC.cpuSet", "0,1", ""),
    "default_cert": ("c", "lbConfig.defaultCertificateId", {"type": "CertificateRef", "name": "c"}, "LEGACY"),
    "depends_on": ("[other]", "PLAN.depends_on", ["other"], ""),
    "description": ("words", "description", "words", ""),
    "device_read_bps": ("{/dev/sda: 1000}", "LC.blkioDeviceOptions", {"/dev/sda": {"readBps": 1000}}, ""),
    "device_read_iops": ("['/dev/sda:9']", "LC.blkioDeviceOptions", {"/dev/sda": {"readIops": 9}}, ""),
    "device_write_bps": ("{/dev/sda: 1k}", "LC.blkioDeviceOptions", {"/dev/sda": {"writeBps": 1024}}, ""),
    "device_write_iops": ("{/dev/sda: '7'}", "LC.blkioDeviceOptions", {"/dev/sda": {"writeIops": 7}}, ""),
    "devices": ("[/dev/a, '/dev/b:/dev/c:r']", "LC.devices", ["/dev/a:/dev/a:rwm", "/dev/b:/dev/c:r"], ""),
    "disks": ("[{name: d, size: 5g, read_iops: 3}]", "LC.disks", [{"name": "d", "size": "5g", "readIops": 3}], ""),
    "dns": ("8.8.8.8", "LC.dns", ["8.8.8.8"], ""),
    "dns_opt": ("{ndots: 2}", "LC.dnsOpt", ["ndots:2"], ""),
    "dns_search": ("[a.test, b.test]", "LC.dnsSearch", ["a.test", "b.test"], ""),
    "dockerfile": ("D", "LC.build.dockerfile", "D", "build: https://x.test/a.git"),
    "domainname": ("x.test", "LC.domainName", "x.test", ""),
    "drain_timeout_ms": ("'5000'", "LC.drainTimeoutMs", 5000, ""),
    "entrypoint": ("[/a, b c]", "LC.entryPoint", ["/a", "b c"], ""),
    "env_file": ("a.env", "LC.environment", {"FROM": "file"}, ""),
    "environment": ("[A=b=c, 'D=']", "LC.environment", {"A": "b=c", "D": ""}, ""),
    "expose": ("[80, '90/udp']", "LC.expose", ["80", "90/udp"], ""),
    "extends": ("{service: other}", "LC.user", "nobody", ""),
    "external_ips": ("[10.0.0.1]", "externalIpAddresses", ["10.0.0.1"], ""),
    "external_links": (
        "['s/db:sql']",
        "PLAN.links",
        [{"name": "sql", "target": {"type": "ServiceRef", "name": "db", "stack": "s"}, "remote": ""}],
        "",
    ),
    "extra_hosts": ("{h: 1.2.3.4}", "LC.extraHosts", ["h:1.2.3.4"], ""),
    "group_add": ("[audio, 44]", "LC.groupAdd", ["audio", "44"], ""),
    "health_check": ("{port: '80', request_line: x}", "LC.healthCheck", {"port": 80, "requestLine": "x"}, ""),
    "hostname": ("h", "LC.hostname", "h", ""),
    "image": ("nginx:1", "LC.imageUuid", "docker:nginx:1", ""),
    "init": ("true", "LC.runInit", True, ""),
    "ipc": ("host", "LC.ipcMode", "host", ""),
    "isolation": ("default", "LC.isolation", "default", ""),
    "labels": ("[a=b, c]", "LC.labels", {"a": "b", "c": ""}, ""),
    "lb_config": (
        "{port_rules: [{source_port: '80', service: other, target_port: 81}]}",
        "lbConfig.portRules",
        [
            {
                "sourcePort": 80,
                "targetPort": 81,
                "serviceId": {"type": "ServiceRef", "name": "other", "stack": None},
            }
        ],
        "",
    ),
    "links": (
        "[other]",
        "PLAN.links",
        [{"name": "other", "target": {"type": "ServiceRef", "name": "other", "stack": None}, "remote": ""}],
        "",
    ),
    "load_balancer_config": (
        "{haproxy_config: {global: maxconn 9, defaults: mode tcp}}",
        "lbConfig.config",
        "global\n    maxconn 9\ndefaults\n    mode tcp\n",
        "LEGACY",
    ),
    "log_driver": ("syslog", "LC.logConfig", {"driver": "syslog", "config": {}}, ""),
    "log_opt": ("{tag: 5}", "LC.logConfig", {"driver": "", "config": {"tag": "5"}}, ""),
    "logging": (
        "{driver: syslog, options: {tag: x}}",
        "LC.logConfig",
        {"driver": "syslog", "config": {"tag": "x"}},
        "",
    ),
    "mem_limit": ("1.5g", "LC.memory", 1610612736, ""),
    "mem_reservation": ("64 MiB", "LC.memoryReservation", 67108864, ""),
    "mem_swappiness": ("60", "LC.memorySwappiness", 60, ""),
    "memory": ("8g", "LC.memoryMb", 8192, ""),
    "memswap_limit": ("2G", "LC.memorySwap", 2147483648, "mem_limit: 1g"),
    "metadata": ("{a: {b: [1, x]}}", "metadata.a", {"b": [1, "x"]}, ""),
    "milli_cpu_reservation": ("'250'", "LC.milliCpuReservation", 250, ""),
    "net": ("host", "LC.networkMode", "host", ""),
    "network_driver": (
        "{name: n, default_network: {name: d, subnets: [{network_address: 10.0.0.0/8}]}, "
        "cni_config: {f: {mtu_x: '9'}}}",
        "networkDriver",
        {
            "name": "n",
            "defaultNetwork": {"name": "d", "subnets": [{"networkAddress": "10.0.0.0/8"}]},
            "cniConfig": {"f": {"mtu_x": 9}},
        },
        "",
    ),
    "network_mode": ("none", "LC.networkMode", "none", ""),
    "oom_kill_disable": ("true", "LC.oomKillDisable", True, ""),
    "oom_score_adj": ("-500", "LC.oomScoreAdj", -500, ""),
    "pid": ("host", "LC.pidMode", "host", ""),
    "ports": ("[22:22, 8080, '1.2.3.4:80:80/tcp']", "LC.ports", ["22:22", "8080", "1.2.3.4:80:80/tcp"], ""),
    "privileged": ("'true'", "LC.privileged", True, ""),
    "read_only": ("true", "LC.readOnly", True, ""),
    "restart": ("on-failure:3", "LC.restartPolicy", {"name": "on-failure", "maximumRetryCount": 3}, ""),
    "retain_ip": ("true", "retainIp", True, ""),
    "scale": ("'3'", "scale", 3, ""),
    "scale_policy": ("{min: 1, max: '5', increment: 2}", "scalePolicy", {"min": 1, "max": 5, "increment": 2}, ""),
    "secrets": (
        "[a, {source: b, target: c, uid: 5, mode: 0400}]",
        "LC.secrets",
        [
            {"secretId": {"type": "SecretRef", "name": "a"}, "name": "a"},
            {"secretId": {"type": "SecretRef", "name": "b"}, "name": "c", "uid": "5", "mode": "400"},
        ],
        "",
    ),
    "security_opt": ("[no-new-privileges]", "LC.securityOpt", ["no-new-privileges"], ""),
    "shm_size": ("64m", "LC.shmSize", 67108864, ""),
    "start_on_create": ("false", "startOnCreate", False, ""),
    "stdin_open": ("true", "LC.stdinOpen", True, ""),
    "stop_grace_period": ("1m30.9s", "LC.stopTimeout", 90, ""),
    "stop_signal": ("SIGINT", "LC.stopSignal", "SIGINT", ""),
    "storage_driver": (
        "{name: n, volume_access_mode: multiHostRW, volume_capabilities: [secrets]}",
        "storageDriver",
        {"name": "n", "volumeAccessMode": "multiHostRW", "volumeCapabilities": ["secrets"]},
        "",
    ),
    "sysctls": ("{net.core.somaxconn: 1024}", "LC.sysctls", {"net.core.somaxconn": "1024"}, ""),
    "tmpfs": ("[/run, '/tmp:size=1m']", "LC.tmpfs", {"/run": "", "/tmp": "size=1m"}, ""),
    "tty": ("true", "LC.tty", True, ""),
    "type": ("virtual_machine", "LC.kind", "virtualMachine", ""),
    "ulimits": (
        "{nproc: 9, core: {soft: 1, hard: 2}}",
        "LC.ulimits",
        [{"name": "core", "soft": 1, "hard": 2}, {"name": "nproc", "soft": 9, "hard": 9}],
        "",
    ),
    "upgrade_strategy": (
        "{start_first: true, batch_size: '2', interval_millis: 5}",
        "PLAN.upgrade",
        {"startFirst": True, "batchSize": 2, "intervalMillis": 5},
        "",
    ),
    "user": ("1000", "LC.user", "1000", ""),
    "userdata": ("text", "LC.userdata", "text", ""),
    "uts": ("host", "LC.uts", "host", ""),
    "vcpu": ("2", "LC.vcpu", 2, ""),
    "volume_driver": ("nfs", "LC.volumeDriver", "nfs", ""),
    "volumes": ("[/a, data:/b:ro]", "LC.dataVolumes", ["/a", "data:/b:ro"], ""),
    "volumes_from": (
        "['side:ro']",
        "LC.dataVolumesFromLaunchConfigs",
        ["side"],
        "labels: {io.rancher.sidekicks: side}",
    ),
    "working_dir": ("/w", "LC.workingDir", "/w", ""),
}

#: Keys of newer docker-compose files that the API can hold.
NEWER: dict[str, tuple[str, str, Any, str]] = {
    "healthcheck": (
        "{test: curl -f x, interval: 1m30s, timeout: 5s, retries: 3}",
        "LC.healthCmd",
        ["CMD-SHELL", "curl -f x"],
        "",
    ),
    "cpus": ("'0.5'", "LC.cpuQuota", 50000, ""),
    "pids_limit": ("100", "LC.pidsLimit", 100, ""),
    "userns_mode": ("host", "LC.usernsMode", "host", ""),
    "storage_opt": ("{size: 1G}", "LC.storageOpt", {"size": "1G"}, ""),
    "cpu_count": ("2", "LC.cpuCount", 2, ""),
    "cpu_percent": ("50", "LC.cpuPercent", 50, ""),
    "cpu_rt_period": ("1000", "LC.cpuRealtimePeriod", 1000, ""),
    "cpu_rt_runtime": ("900", "LC.cpuRealtimeRuntime", 900, ""),
}


def text_with(key: str, value: str, more: str, version: int) -> str:
    """A file of one version whose first service has the key; `other` and `side` stand beside it."""
    lines = [] if key in ("image", "build") or more.startswith("build") else ["image: busybox"]
    if more == "LEGACY":
        lines = ["image: rancher/load-balancer-service", "ports: ['80']", "links: [other]"]
    elif more:
        lines.append(more)
    lines.append(f"{key}: {value}")
    body = "".join(f"  {line}\n" for line in lines)
    text = f"web:\n{body}other:\n  image: busybox\n  user: nobody\n"
    if "side" in value + more:
        text += "side:\n  image: busybox\n"
    if version == 1:
        return text
    return "version: '2'\nservices:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def field_of(project: ComposeProject, path: str) -> Any:
    plan = next(plan for plan in plan_services(project) if plan.name == "web")
    place = to_wire(plan.body)
    if path.startswith("PLAN."):
        return to_wire(getattr(plan, path.removeprefix("PLAN.")))
    if path.startswith("LC."):
        place, path = place["launchConfig"], path.removeprefix("LC.")
        place["labels"] = {k: v for k, v in place["labels"].items() if k != "io.rancher.service.hash"}
    for part in path.split("."):
        place = place[part]
    return place


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("row", [row for row in TABLE if row["applied"]], ids=lambda row: row["key"])
def test_key_reaches_its_field(row: dict[str, Any], version: int, load: Callable, memory_files: Callable) -> None:
    value, path, expected, more = SAMPLES[row["key"]]
    text = text_with(row["key"], value, more, version)
    source = memory_files({"a.env": "FROM=file\n"})
    if version == 2 and not row["v2"]:
        with pytest.raises(ComposeError, match=f"Unsupported config option for web service: '{row['key']}'"):
            load(text, source=source)
        return
    assert field_of(load(text, source=source), path) == expected


@pytest.mark.parametrize("row", [row for row in TABLE if not row["applied"]], ids=lambda row: row["key"])
def test_key_without_effect_is_accepted(row: dict[str, Any], load: Callable) -> None:
    samples = {**SAMPLES, **dict.fromkeys(("container_name", "mac_address", "config"), ("x", "", "", ""))}
    value = samples.get(row["key"], ("[a]", "", "", ""))[0]
    project = load(text_with(row["key"], value, "", 2))
    if row["key"] not in SAMPLES:
        assert any(f"'{row['key']}' has no effect" in str(warning) for warning in project.warnings)


@pytest.mark.parametrize(("key", "sample"), NEWER.items())
def test_newer_keys_reach_their_fields(key: str, sample: tuple[str, str, Any, str], load: Callable) -> None:
    value, path, expected, more = sample
    assert field_of(load(text_with(key, value, more, 2)), path) == expected


def test_the_table_knows_every_documented_key() -> None:
    assert {row["key"] for row in TABLE} - set(KEYS) == set()


def test_every_applied_key_has_a_sample() -> None:
    assert {row["key"] for row in TABLE if row["applied"]} - set(SAMPLES) == set()


def test_every_key_of_the_table_has_a_field_in_the_model() -> None:
    v1_or_early = {"dockerfile", "log_driver", "log_opt", "net", "extends", "env_file"}
    expected = {key.name for key in KEYS.values() if not key.no_effect} - v1_or_early
    assert set(Service.__struct_fields__) - {"name", "mark"} == expected


def test_decoded_values_have_the_types_of_the_model(load: Callable, memory_files: Callable) -> None:
    for key, (value, _, _, more) in {**SAMPLES, **NEWER}.items():
        version = 1 if not next((row["v2"] for row in TABLE if row["key"] == key), True) else 2
        project = load(text_with(key, value, more, version), source=memory_files({"a.env": ""}))
        service = project.services["web"]
        assert msgspec.convert(msgspec.to_builtins(service), Service, strict=True) == service


@pytest.mark.parametrize(("wrong", "right"), MISSPELLINGS.items())
def test_known_misspellings(wrong: str, right: str, errors_of: Callable) -> None:
    assert errors_of(f"web:\n  image: a\n  {wrong}: x\n") == [
        f"docker-compose.yml:3:3: Unsupported config option for web service: '{wrong}' (did you mean '{right}'?)"
    ]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("enviroment", "environment"),
        ("volume-driver", "volume_driver"),
        ("healthcheck_", "healthcheck"),
        ("Image", "image"),
    ],
)
def test_close_misspellings(wrong: str, right: str, errors_of: Callable) -> None:
    errors = errors_of(f"web:\n  image: a\n  {wrong}: x\n")
    assert f"(did you mean '{right}'?)" in errors[0]


def test_keys_of_other_tools_say_what_to_use_instead(errors_of: Callable) -> None:
    errors = errors_of("web:\n  image: a\n  deploy: {replicas: 2}\n")
    assert errors == [
        "docker-compose.yml:3:3: Unsupported config option for web service: 'deploy' "
        "(use scale, mem_limit, mem_reservation and cpu_shares)"
    ]


#: Keys that do not come back as themselves: they become part of another value, only concern the way to the server, or
#: have a sample (`start_on_create: false`) that an export leaves out.
NOT_EXPORTED = {
    "build",
    "cpus",
    "depends_on",
    "dockerfile",
    "env_file",
    "extends",
    "start_on_create",
    "upgrade_strategy",
    "volume_driver",
}
ROUND_TRIP = sorted(
    key
    for key, (_, path, _, more) in {**SAMPLES, **NEWER}.items()
    if key not in NOT_EXPORTED and more != "LEGACY" and not KEYS[key].only_v1 and not path.startswith("PLAN")
)


@settings(deadline=None)
@given(st.sets(st.sampled_from(ROUND_TRIP), max_size=12))
def test_any_combination_of_keys_survives_export_and_import(load: Callable, keys: set[str]) -> None:
    samples = {key: {**SAMPLES, **NEWER}[key] for key in sorted(keys | {"image"})}
    lines = {f"{key}: {value}" for key, (value, _, _, _) in samples.items()}
    lines |= {more for _, _, _, more in samples.values() if more and not more.startswith("labels")}
    if keys & {"volumes_from"}:
        lines = {line for line in lines if not line.startswith("labels")} | {"labels: {io.rancher.sidekicks: side}"}
    text = "version: '2'\nservices:\n  web:\n" + "".join(f"    {line}\n" for line in sorted(lines))
    text += "  other: {image: busybox}\n  side: {image: busybox}\n"
    before = plan_services(load(text))
    ids = {str(ref): ref for plan in before for ref in references(plan.body)}
    services = [{**resolve(plan.body, str), "type": plan.kind.value} for plan in before]
    names = ExportNames(services={name: ServiceName("shop", name) for name in ids})
    files = export_stack(stack_name="shop", services=services, volume_templates=[], names=names)
    after = {plan.name: plan for plan in plan_services(load(files.docker_compose, files.rancher_compose))}
    for plan in before:
        again = resolve(after[plan.name].body, str)
        assert after[plan.name].kind is plan.kind
        assert {**again, "secondaryLaunchConfigs": 0} == {**resolve(plan.body, str), "secondaryLaunchConfigs": 0}
        assert again["secondaryLaunchConfigs"] == resolve(plan.body, str)["secondaryLaunchConfigs"]
