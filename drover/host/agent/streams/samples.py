"""One statistics sample, in the shape that the UI reads (Rancher 1.6).

Counters are cumulative, CPU time in nanoseconds; the reader differentiates. An empty `id`, `resourceType`,
`memLimit`, `interfaces` or list is left out, every other counter is always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

NANOSECONDS = 1_000_000_000


class CpuUsage(msgspec.Struct, omit_defaults=True, kw_only=True):
    total: int
    per_cpu_usage: list[int] = []
    user: int
    system: int


class Cpu(msgspec.Struct):
    usage: CpuUsage


class DiskEntry(msgspec.Struct):
    major: int
    minor: int
    stats: dict[str, int]


class DiskIo(msgspec.Struct, omit_defaults=True):
    io_service_bytes: list[DiskEntry] = []


class Interface(msgspec.Struct):
    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Network(Interface):
    """The sums; `interfaces` gives them one by one."""

    interfaces: list[Interface] | msgspec.UnsetType = msgspec.UNSET


class Memory(msgspec.Struct):
    usage: int
    limit: int | msgspec.UnsetType = msgspec.UNSET


class Sample(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    id: str = ""
    resource_type: str = ""
    mem_limit: int = 0
    timestamp: str
    cpu: Cpu
    diskio: DiskIo
    network: Network
    memory: Memory


def encode_samples(samples: list[Sample]) -> str:
    """A message is always a list, and ends its line."""
    return msgspec.json.encode(samples).decode() + "\n"


def timestamp_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def read_interfaces(text: str) -> list[Interface]:
    """`/proc/<pid>/net/dev` without the loopback."""
    interfaces: list[Interface] = []
    for line in text.splitlines()[2:]:
        name, _, values = line.partition(":")
        if name.strip() == "lo":
            continue
        numbers = [int(value) for value in values.split()]
        interfaces.append(Interface(name.strip(), *numbers[0:4], *numbers[8:12]))
    return interfaces


def total(name: str, interfaces: list[Interface]) -> Network:
    sums = Network(name)
    for interface in interfaces:
        for field in Interface.__struct_fields__[1:]:
            setattr(sums, field, getattr(sums, field) + getattr(interface, field))
    return sums


def from_docker(stats: Mapping[str, Any], *, identifier: str, host_memory: int, interfaces: list[Interface]) -> Sample:
    """A line of Docker's stats API, which reads the same for cgroup v1 and v2 but for what v2 lacks."""
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    online = int((stats.get("cpu_stats") or {}).get("online_cpus") or 0)
    used = int(cpu.get("total_usage") or 0)
    # cgroup v2 has no times per core; the reader divides by their number, so it must be right.
    per_core = list(cpu.get("percpu_usage") or [used // max(1, online)] * online)
    memory = stats.get("memory_stats") or {}
    network = Network("")
    network.interfaces = interfaces
    return Sample(
        id=identifier,
        resource_type="container",
        mem_limit=host_memory,
        timestamp=str(stats.get("read") or timestamp_now()),
        cpu=Cpu(
            CpuUsage(
                total=used,
                per_cpu_usage=[int(value) for value in per_core[: online or None]],
                user=int(cpu.get("usage_in_usermode") or 0),
                system=int(cpu.get("usage_in_kernelmode") or 0),
            )
        ),
        diskio=DiskIo(_disk_entries((stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or [])),
        network=network,
        memory=Memory(usage=_memory_used(memory), limit=int(memory.get("limit") or 0)),
    )


def docker_interfaces(stats: Mapping[str, Any]) -> list[Interface]:
    """The interfaces that Docker itself made; those of a network manager are not among them."""
    return [
        Interface(name, **{field: int(values.get(field) or 0) for field in Interface.__struct_fields__[1:]})
        for name, values in (stats.get("networks") or {}).items()
    ]


def _disk_entries(rows: list[Mapping[str, Any]]) -> list[DiskEntry]:
    return [
        DiskEntry(
            int(row.get("major") or 0), int(row.get("minor") or 0), {str(row["op"]).capitalize(): int(row["value"])}
        )
        for row in rows
        if str(row.get("op")).lower() in ("read", "write")
    ]


def _memory_used(memory: Mapping[str, Any]) -> int:
    """Without the page cache that the kernel would give back at once, as `docker stats` shows it."""
    details = memory.get("stats") or {}
    used = int(memory.get("usage") or 0)
    cache = int(details.get("total_inactive_file") or details.get("inactive_file") or 0)
    return used - cache if cache < used else used
