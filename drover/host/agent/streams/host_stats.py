"""Statistics of the host itself, once a second, from /proc."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from drover.host.agent import host_facts
from drover.host.agent.streams.multiplex import Stream
from drover.host.agent.streams.samples import (
    NANOSECONDS,
    Cpu,
    CpuUsage,
    DiskEntry,
    DiskIo,
    Memory,
    Sample,
    encode_samples,
    read_interfaces,
    timestamp_now,
    total,
)

INTERVAL = 1.0
SECTOR = 512
PROC = Path("/proc")
_WHOLE_DISK = re.compile(r"(?:[sv]d[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+)")


async def serve_host_stats(stream: Stream, *, resource_id: str) -> None:
    """Runs until the client is gone (the stream's task is cancelled)."""
    while True:
        await stream.send(encode_samples([host_sample(resource_id)]))
        await asyncio.sleep(INTERVAL)


def host_sample(resource_id: str) -> Sample:
    memory = host_facts.memory_info()
    total_bytes = memory.get("memTotal", 0) * host_facts.MIB
    used = total_bytes - memory.get("memAvailable", memory.get("memFree", 0)) * host_facts.MIB
    return Sample(
        id=resource_id,
        resource_type="host",
        mem_limit=total_bytes,
        timestamp=timestamp_now(),
        cpu=Cpu(_cpu_usage()),
        diskio=DiskIo([_disk_totals()]),
        network=total("all", read_interfaces((PROC / "net" / "dev").read_text())),
        memory=Memory(usage=used, limit=total_bytes),
    )


def _cpu_usage() -> CpuUsage:
    tick = NANOSECONDS // os.sysconf("SC_CLK_TCK")
    cores: list[int] = []
    user = system = 0
    for line in (PROC / "stat").read_text().splitlines():
        if re.match(r"cpu\d", line):
            in_user, nice, in_system = (int(value) for value in line.split()[1:4])
            cores.append((in_user + nice + in_system) * tick)
            user += (in_user + nice) * tick
            system += in_system * tick
    return CpuUsage(total=sum(cores), per_cpu_usage=cores, user=user, system=system)


def _disk_totals() -> DiskEntry:
    """Bytes of all whole disks; partitions would count the same bytes again."""
    read = written = 0
    for line in (PROC / "diskstats").read_text().splitlines():
        fields = line.split()
        if _WHOLE_DISK.fullmatch(fields[2]):
            read += int(fields[5]) * SECTOR
            written += int(fields[9]) * SECTOR
    return DiskEntry(0, 0, {"Read": read, "Write": written})
