"""Every key that a service may have: its type, the file versions that know it, and the API field it fills.

This table is the one place to add a key. A key whose value goes unchanged into the launch config names the field in
`api`; keys with an empty `api` are handled by name in `convert`. Source of the key set: Rancher 1.6, whose compose
executor accepted 97 service keys, and docker-compose 2.x for those it added later and the API can hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from drover.compose import docker_values, values
from drover.compose.model import (
    Disk,
    HealthCheck,
    LbConfig,
    LegacyLbConfig,
    NetworkDriver,
    ScalePolicy,
    StorageDriver,
    UpgradeStrategy,
)
from drover.compose.records import record, record_list
from drover.compose.values import Decoder


class Merge(Enum):
    """What happens when a later file, or an extending service, sets the same key."""

    REPLACE = "replace"
    CONCATENATE = "concatenate"
    UNITE = "unite"


@dataclass(frozen=True, slots=True)
class Key:
    """One service key. `no_effect` says why an accepted key does nothing; `instead` names the key of version 2."""

    name: str
    decode: Decoder
    api: str = ""
    merge: Merge = Merge.REPLACE
    only_v1: bool = False
    instead: str = ""
    no_effect: str = ""


def _replace(name: str, decode: Decoder, api: str = "") -> Key:
    return Key(name, decode, api)


def _list(name: str, decode: Decoder, api: str = "") -> Key:
    return Key(name, decode, api, Merge.CONCATENATE)


def _map(name: str, decode: Decoder, api: str = "") -> Key:
    return Key(name, decode, api, Merge.UNITE)


def _ignored(name: str, why: str) -> Key:
    return Key(name, lambda node, field: None, no_effect=why)


def _v1(name: str, decode: Decoder, instead: str, merge: Merge = Merge.REPLACE) -> Key:
    return Key(name, decode, "", merge, only_v1=True, instead=instead)


_UNDER_LOAD_BALANCERS = "it belongs into lb_config"

KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        _replace("image", values.string),
        _map("build", docker_values.build),
        _replace("command", values.words, "command"),
        _replace("entrypoint", values.words, "entryPoint"),
        _map("environment", values.environment, "environment"),
        _list("env_file", values.string_or_list),
        _map("labels", values.labels, "labels"),
        _list("ports", docker_values.ports, "ports"),
        _list("expose", docker_values.expose, "expose"),
        _list("volumes", values.string_list, "dataVolumes"),
        _list("volumes_from", values.string_list, "dataVolumesFromLaunchConfigs"),
        _replace("volume_driver", values.string, "volumeDriver"),
        _replace("network_mode", docker_values.network_mode),
        _replace("hostname", values.string, "hostname"),
        _replace("domainname", values.string, "domainName"),
        _list("dns", values.string_or_list, "dns"),
        _list("dns_opt", values.list_from(":"), "dnsOpt"),
        _list("dns_search", values.string_or_list, "dnsSearch"),
        _list("extra_hosts", values.list_from(":"), "extraHosts"),
        _list("cap_add", values.string_list, "capAdd"),
        _list("cap_drop", values.string_list, "capDrop"),
        _list("security_opt", values.string_list, "securityOpt"),
        _list("group_add", values.string_list, "groupAdd"),
        _list("devices", docker_values.devices, "devices"),
        _replace("privileged", values.boolean, "privileged"),
        _replace("read_only", values.boolean, "readOnly"),
        _replace("stdin_open", values.boolean, "stdinOpen"),
        _replace("tty", values.boolean, "tty"),
        _replace("init", values.boolean, "runInit"),
        _replace("oom_kill_disable", values.boolean, "oomKillDisable"),
        _replace("user", values.string, "user"),
        _replace("working_dir", values.string, "workingDir"),
        _replace("pid", values.choice("host"), "pidMode"),
        _replace("ipc", values.string, "ipcMode"),
        _replace("uts", values.string, "uts"),
        _replace("userns_mode", values.string, "usernsMode"),
        _replace("isolation", values.string, "isolation"),
        _replace("cgroup_parent", values.string, "cgroupParent"),
        _replace("stop_signal", values.string, "stopSignal"),
        _replace("stop_grace_period", values.seconds, "stopTimeout"),
        _replace("mem_limit", values.size, "memory"),
        _replace("mem_reservation", values.size, "memoryReservation"),
        _replace("memswap_limit", values.size, "memorySwap"),
        _replace("mem_swappiness", values.integer_within(-1, 100), "memorySwappiness"),
        _replace("shm_size", values.size, "shmSize"),
        _replace("oom_score_adj", values.integer_within(-1000, 1000), "oomScoreAdj"),
        _replace("pids_limit", values.integer, "pidsLimit"),
        _replace("cpu_shares", values.integer, "cpuShares"),
        _replace("cpu_period", values.integer, "cpuPeriod"),
        _replace("cpu_quota", values.integer, "cpuQuota"),
        _replace("cpu_count", values.integer, "cpuCount"),
        _replace("cpu_percent", values.integer_within(0, 100), "cpuPercent"),
        _replace("cpu_rt_period", values.integer, "cpuRealtimePeriod"),
        _replace("cpu_rt_runtime", values.integer, "cpuRealtimeRuntime"),
        _replace("cpus", values.number),
        _replace("cpuset", values.string, "cpuSet"),
        _replace("milli_cpu_reservation", values.integer, "milliCpuReservation"),
        _replace("blkio_weight", values.integer, "blkioWeight"),
        _map("blkio_weight_device", values.device_numbers),
        _map("device_read_bps", values.device_numbers),
        _map("device_read_iops", values.device_numbers),
        _map("device_write_bps", values.device_numbers),
        _map("device_write_iops", values.device_numbers),
        _map("ulimits", docker_values.ulimits),
        _map("sysctls", values.options, "sysctls"),
        _map("tmpfs", docker_values.tmpfs, "tmpfs"),
        _map("storage_opt", values.option_map, "storageOpt"),
        _map("logging", docker_values.logging),
        _replace("restart", docker_values.restart),
        _replace("healthcheck", docker_values.healthcheck),
        _replace("drain_timeout_ms", values.integer, "drainTimeoutMs"),
        _map("health_check", record(HealthCheck), "healthCheck"),
        _list("secrets", docker_values.secrets),
        _replace("type", values.string),
        _replace("vcpu", values.integer, "vcpu"),
        _replace("memory", values.megabytes, "memoryMb"),
        _replace("userdata", values.string, "userdata"),
        _list("disks", record_list(Disk), "disks"),
        _replace("description", values.any_text),
        _replace("start_on_create", values.boolean),
        _replace("scale", values.integer),
        _map("scale_policy", record(ScalePolicy)),
        _replace("retain_ip", values.boolean),
        _map("metadata", values.free_map),
        _list("links", values.string_list),
        _list("external_links", values.string_list),
        _list("external_ips", values.string_or_list),
        _map("lb_config", record(LbConfig)),
        _map("load_balancer_config", record(LegacyLbConfig, ignored=("app_cookie_stickiness_policy", "name"))),
        _list("certs", values.string_or_list),
        _replace("default_cert", values.string),
        _map("storage_driver", record(StorageDriver, ignored=("create_supported", "start_on_create"))),
        _map("network_driver", record(NetworkDriver, ignored=("create_supported", "start_on_create"))),
        _map("upgrade_strategy", record(UpgradeStrategy)),
        _map("depends_on", docker_values.depends_on),
        _replace("extends", docker_values.extends),
        _v1("dockerfile", values.string, "build: {context: ..., dockerfile: ...}"),
        _v1("log_driver", values.string, "logging: {driver: ...}"),
        _v1("log_opt", values.option_map, "logging: {options: ...}", Merge.UNITE),
        _v1("net", docker_values.network_mode, "network_mode"),
        _ignored("container_name", "containers are named after stack, service and number"),
        _ignored("mac_address", "addresses are given out by the environment's network"),
        _ignored("networks", "all services of an environment share its network"),
        _ignored("service_schemas", "it was never used"),
        _ignored("config", _UNDER_LOAD_BALANCERS),
        _ignored("port_rules", _UNDER_LOAD_BALANCERS),
        _ignored("stickiness_policy", _UNDER_LOAD_BALANCERS),
    )
}

#: Frequent misspellings, from docker-compose.
MISSPELLINGS: Mapping[str, str] = {
    "cpu_share": "cpu_shares",
    "add_host": "extra_hosts",
    "hosts": "extra_hosts",
    "extra_host": "extra_hosts",
    "device": "devices",
    "link": "links",
    "memory_swap": "memswap_limit",
    "port": "ports",
    "privilege": "privileged",
    "priviliged": "privileged",
    "privilige": "privileged",
    "volume": "volumes",
    "workdir": "working_dir",
}

#: Keys of docker-compose that have no counterpart, with what to do instead.
ELSEWHERE: Mapping[str, str] = {
    "deploy": "use scale, mem_limit, mem_reservation and cpu_shares",
    "configs": "use secrets, or metadata with a template sidekick",
    "stop_timeout": "use stop_grace_period",
    "runtime": "choose the runtime on the host",
    "profiles": "put optional services into a file of their own",
    "platform": "use a scheduler label to choose hosts",
    "pull_policy": "use the label io.rancher.container.pull_image: always",
}
