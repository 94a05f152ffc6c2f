"""Docker's HostConfig: limits, devices, kernel settings.

Only values that were given are sent. A zero that the original sent for "not set" means the same to Docker as
absence, and an absent key cannot be refused by an engine that dropped the parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from drover.host.agent.parameters.facts import MappingFacts
from drover.host.agent.payload import BlkioDeviceOption, ContainerFields, Instance, text_map

DEFAULT_DISK = "DEFAULT_DISK"
SMALLEST_CPU_SHARES = 2
"""The kernel's minimum; less is refused."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A parameter that was asked for but not sent, and why."""

    field: str
    reason: str


_PLAIN: tuple[tuple[str, Callable[[ContainerFields], Any]], ...] = (
    ("Privileged", lambda f: f.privileged),
    ("ReadonlyRootfs", lambda f: f.read_only),
    ("CapAdd", lambda f: f.cap_add),
    ("CapDrop", lambda f: f.cap_drop),
    ("SecurityOpt", lambda f: f.security_opt),
    ("ExtraHosts", lambda f: f.extra_hosts),
    ("GroupAdd", lambda f: f.group_add),
    ("Dns", lambda f: f.dns),
    ("DnsOptions", lambda f: f.dns_opt),
    ("PidMode", lambda f: f.pid_mode),
    ("IpcMode", lambda f: f.ipc_mode),
    ("UTSMode", lambda f: f.uts),
    ("UsernsMode", lambda f: f.userns_mode),
    ("Cgroup", lambda f: f.cgroup),
    ("CgroupParent", lambda f: f.cgroup_parent),
    ("Memory", lambda f: f.memory),
    ("MemorySwap", lambda f: f.memory_swap),
    ("OomScoreAdj", lambda f: f.oom_score_adj),
    ("ShmSize", lambda f: f.shm_size),
    ("PidsLimit", lambda f: f.pids_limit),
    ("CpusetCpus", lambda f: f.cpu_set),
    ("CpusetMems", lambda f: f.cpu_set_mems),
    ("CpuPeriod", lambda f: f.cpu_period),
    ("CpuQuota", lambda f: f.cpu_quota),
    ("BlkioWeight", lambda f: f.blkio_weight),
    ("Tmpfs", lambda f: text_map(f.tmpfs)),
    ("Sysctls", lambda f: text_map(f.sysctls)),
    ("StorageOpt", lambda f: text_map(f.storage_opt)),
    ("VolumeDriver", lambda f: f.volume_driver),
)
"""Parameters that travel unchanged."""

_WINDOWS_ONLY: tuple[tuple[str, Callable[[ContainerFields], Any]], ...] = (
    ("isolation", lambda f: f.isolation if f.isolation != "default" else None),
    ("cpuCount", lambda f: f.cpu_count),
    ("cpuPercent", lambda f: f.cpu_percent),
    ("ioMaximumIOps", lambda f: f.io_maximum_iops),
    ("ioMaximumBandwidth", lambda f: f.io_maximum_bandwidth),
    ("diskQuota", lambda f: f.disk_quota),
)


def host_config(instance: Instance, facts: MappingFacts, dropped: list[Dropped]) -> dict[str, Any]:
    """Everything of HostConfig but ports, volumes, DNS search and network. Appends to `dropped`."""
    fields = instance.fields
    config = {key: value for key, read in _PLAIN if (value := read(fields))}
    _add_limits_by_engine(config, fields, facts, dropped)
    if fields.log_config and fields.log_config.driver:
        config["LogConfig"] = {
            "Type": fields.log_config.driver,
            "Config": text_map(fields.log_config.config),
        }
    if fields.restart_policy and fields.restart_policy.name:
        policy = fields.restart_policy
        config["RestartPolicy"] = {
            "Name": policy.name,
            # Docker refuses a count on any other policy.
            "MaximumRetryCount": (policy.maximum_retry_count or 0) if policy.name == "on-failure" else 0,
        }
    if fields.run_init is not None:
        config["Init"] = fields.run_init
    if instance.memory_reservation:
        config["MemoryReservation"] = instance.memory_reservation
    if (shares := cpu_shares(instance, legacy=facts.legacy_cpu_shares)) is not None:
        config["CpuShares"] = shares
    if fields.ulimits:
        config["Ulimits"] = [
            {"Name": limit.name, "Soft": limit.soft or 0, "Hard": limit.hard or 0} for limit in fields.ulimits
        ]
    if fields.devices:
        config["Devices"] = [_device(text) for text in fields.devices]
    for device, options in (fields.blkio_device_options or {}).items():
        _add_block_io(config, device, options, facts, dropped)
    dropped += [Dropped(name, "means something on Windows only") for name, read in _WINDOWS_ONLY if read(fields)]
    return config


def cpu_shares(instance: Instance, *, legacy: bool) -> int | None:
    """A reservation of 200 thousandths becomes 204 shares; None leaves Docker's default of 1024.

    Rancher 1.6 sent 2 for "not set", which starves the container beside any other; `legacy` brings that back.
    """
    shares = instance.fields.cpu_shares or 0
    if instance.milli_cpu_reservation:
        shares = instance.milli_cpu_reservation * 1024 // 1000
    if shares == 0 and not legacy:
        return None
    return max(shares, SMALLEST_CPU_SHARES)


def _add_limits_by_engine(
    config: dict[str, Any], fields: ContainerFields, facts: MappingFacts, dropped: list[Dropped]
) -> None:
    """Limits that some engines or kernels refuse: sent where they work, else dropped with the reason."""
    candidates: tuple[tuple[str, str, Any, bool, str], ...] = (
        (
            "kernelMemory",
            "KernelMemory",
            fields.kernel_memory or None,
            facts.kernel_memory and facts.api_version < (1, 42),
            "this engine has no kernel memory limit",
        ),
        (
            "memorySwappiness",
            "MemorySwappiness",
            fields.memory_swappiness,
            facts.memory_swappiness,
            "this kernel has no per-container swappiness",
        ),
        (
            "oomKillDisable",
            "OomKillDisable",
            fields.oom_kill_disable,
            facts.oom_kill_disable,
            "this kernel cannot disable the OOM killer per container",
        ),
        (
            "cpuRealtimePeriod",
            "CpuRealtimePeriod",
            fields.cpu_realtime_period or None,
            facts.cpu_realtime,
            "this kernel has no real-time group scheduling",
        ),
        (
            "cpuRealtimeRuntime",
            "CpuRealtimeRuntime",
            fields.cpu_realtime_runtime or None,
            facts.cpu_realtime,
            "this kernel has no real-time group scheduling",
        ),
    )
    for name, key, value, supported, reason in candidates:
        if value is None:
            continue
        if supported:
            config[key] = value
        elif value is not False:
            dropped.append(Dropped(name, reason))


def _device(text: str) -> dict[str, str]:
    """`host[:container[:permissions]]`; one path alone is the same path inside."""
    parts = text.split(":", 2)
    inside = parts[1] if len(parts) > 1 and parts[1] else parts[0]
    permissions = parts[2] if len(parts) > 2 and parts[2] else "rwm"
    return {"PathOnHost": parts[0], "PathInContainer": inside, "CgroupPermissions": permissions}


def _add_block_io(
    config: dict[str, Any],
    device: str,
    options: BlkioDeviceOption,
    facts: MappingFacts,
    dropped: list[Dropped],
) -> None:
    path = facts.default_disk if device == DEFAULT_DISK else device
    if not path:
        dropped.append(Dropped("blkioDeviceOptions", "the host's default disk is not known: set --default-disk"))
        return
    for key, value_key, value in _block_io_limits(options):
        config.setdefault(key, []).append({"Path": path, value_key: value})


def _block_io_limits(options: BlkioDeviceOption) -> Iterator[tuple[str, str, int]]:
    limits = (
        ("BlkioWeightDevice", "Weight", options.weight),
        ("BlkioDeviceReadIOps", "Rate", options.read_iops),
        ("BlkioDeviceWriteIOps", "Rate", options.write_iops),
        ("BlkioDeviceReadBps", "Rate", options.read_bps),
        ("BlkioDeviceWriteBps", "Rate", options.write_bps),
    )
    for key, value_key, value in limits:
        if value:
            yield key, value_key, value
