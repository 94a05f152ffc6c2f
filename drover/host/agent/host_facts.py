"""What the host is and how busy it is, from /proc and the engine. Sizes in MiB where the wire wants MiB."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

MIB = 1024 * 1024
PROC = Path("/proc")
FIRST_SAMPLE_SECONDS = 0.2

_MEMORY_KEYS = {
    "MemTotal": "memTotal",
    "MemFree": "memFree",
    "MemAvailable": "memAvailable",
    "Buffers": "buffers",
    "Cached": "cached",
    "SwapCached": "swapCached",
    "Active": "active",
    "Inactive": "inactive",
    "SwapTotal": "swaptotal",
    "SwapFree": "swapfree",
}
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """One core's counters since boot, in clock ticks."""

    busy: int
    total: int


class CpuMeter:
    """Busy percentage per core since the last look; no look has to wait for a sample but the first."""

    def __init__(self) -> None:
        self._last: list[CpuTimes] = []

    async def percentages(self) -> list[float]:
        if not self._last:
            self._last = read_cpu_times()
            await asyncio.sleep(FIRST_SAMPLE_SECONDS)
        before, self._last = self._last, read_cpu_times()
        return [
            round(100 * (now.busy - then.busy) / (now.total - then.total), 3) if now.total > then.total else 0.0
            for then, now in zip(before, self._last, strict=False)
        ]


def read_cpu_times() -> list[CpuTimes]:
    lines = (PROC / "stat").read_text().splitlines()
    return [_cpu_times(line) for line in lines if re.match(r"cpu\d", line)]


def _cpu_times(line: str) -> CpuTimes:
    user, nice, system, idle, iowait, *rest = (int(value) for value in line.split()[1:9])
    busy = user + nice + system + sum(rest)
    return CpuTimes(busy=busy, total=busy + idle + iowait)


def cpu_info(percentages: list[float]) -> dict[str, Any]:
    text = (PROC / "cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    megahertz = re.search(r"^cpu MHz\s*:\s*([\d.]+)$", text, re.MULTILINE)
    return {
        "count": len(percentages) or os.cpu_count() or 1,
        "modelName": model.group(1) if model else "",
        "mhz": float(megahertz.group(1)) if megahertz else 0.0,
        "loadAvg": (PROC / "loadavg").read_text().split()[:3],
        "cpuCoresPercentages": percentages,
    }


def memory_info() -> dict[str, int]:
    """All values in MiB."""
    info: dict[str, int] = {}
    for line in (PROC / "meminfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in _MEMORY_KEYS:
            info[_MEMORY_KEYS[key]] = int(value.split()[0]) // 1024
    return info


def memory_total_bytes() -> int:
    return memory_info().get("memTotal", 0) * MIB


def disk_info(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Block devices that are mounted, each once, in MiB."""
    file_systems: dict[str, dict[str, int]] = {}
    mount_points: dict[str, dict[str, float]] = {}
    pool = str(engine.get("Driver") or "") == "devicemapper"
    for device, mount_point in _mounts((PROC / "mounts").read_text().splitlines()):
        if device in file_systems or (pool and "docker-" in device):
            continue
        try:
            usage = os.statvfs(mount_point)
        except OSError:
            continue
        total = usage.f_blocks * usage.f_frsize // MIB
        free = usage.f_bavail * usage.f_frsize // MIB
        file_systems[device] = {"capacity": total}
        mount_points[device] = {
            "free": free,
            "total": total,
            "used": total - free,
            "percentage": round(100 * (total - free) / total, 1) if total else 0.0,
        }
    return {
        "fileSystems": file_systems,
        "mountPoints": mount_points,
        "dockerStorageDriver": engine.get("Driver") or "",
        "dockerStorageDriverStatus": dict(engine.get("DriverStatus") or ()),
    }


def free_storage_mb(path: Path) -> int:
    """Free space for containers, in MB of 10^6 bytes."""
    usage = os.statvfs(path)
    return usage.f_bavail * usage.f_frsize // 1_000_000


def os_info(engine: Mapping[str, Any], version: Mapping[str, Any]) -> dict[str, str]:
    return {
        "operatingSystem": str(engine.get("OperatingSystem") or ""),
        "kernelVersion": str(engine.get("KernelVersion") or ""),
        "dockerVersion": f"Docker version {version.get('Version')}, build {version.get('GitCommit')}",
    }


def host_labels(engine: Mapping[str, Any], *, agent_image: str | None) -> dict[str, str]:
    """Labels that schedulers use to choose hosts by what they are."""
    labels = {
        "io.rancher.host.docker_version": _first_two_numbers(str(engine.get("ServerVersion") or "")),
        "io.rancher.host.linux_kernel_version": _first_two_numbers(str(engine.get("KernelVersion") or "")),
        "io.rancher.host.os": "linux",
    }
    if Path("/dev/kvm").exists():
        labels["io.rancher.host.kvm"] = "true"
    if agent_image:
        labels["io.rancher.host.agent_image"] = agent_image
    return labels


async def host_name(override: str | None) -> str:
    if override:
        return override
    return await asyncio.to_thread(socket.getfqdn) or socket.gethostname()


async def first_address(name: str | None) -> str | None:
    """A name's first IPv4 address; an address stays, and a name that does not resolve is left out."""
    if not name:
        return None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, family=socket.AF_INET)
    except OSError as error:
        log.warning("host.address.unresolved", name=name, error=error.strerror)
        return None
    return str(found[0][4][0])


def search_domains(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...] | None:
    """The host's DNS search list; None when the file cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    domains: tuple[str, ...] = ()
    for line in lines:
        words = line.split()
        if words[:1] in (["search"], ["domain"]):
            # As in the resolver: the last of these lines wins.
            domains = tuple(words[1:])
    return domains


def _mounts(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        device, mount_point, kind, *_ = line.split()
        if device.startswith("/dev/") and kind != "squashfs":
            yield device, _OCTAL.sub(lambda match: chr(int(match.group(1), 8)), mount_point)


def _first_two_numbers(version: str) -> str:
    match = re.match(r"(\d+)\.(\d+)", version)
    return f"{match.group(1)}.{match.group(2)}" if match else version
