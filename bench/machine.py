"""The machine in as few words as make numbers comparable, and none that tell whose it is."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """``others_busy`` is how many cores other programs kept busy during the bench: what disturbed it. ``nice`` is the
    priority of the measured programs, which inherit ours: below 0 on a machine that cannot be had alone.
    """

    cores: int
    memory_gib: float
    kernel: str
    python: str
    date: str
    others_busy: float
    nice: int = 0


def describe_machine(since: Busy) -> Machine:
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(int(total[1]) / 1024**2, 1) if total else 0.0,
        kernel=platform.release().split("-")[0],
        python=platform.python_version(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        others_busy=Busy.now().others_since(since),
        nice=os.nice(0),
    )


@dataclass(frozen=True, slots=True)
class Busy:
    """CPU seconds so far: of the whole machine, and of us with the programs that we started and that have ended."""

    machine: float
    ours: float
    at: float

    @classmethod
    def now(cls) -> Busy:
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        user, nice, system, _idle, _iowait, interrupts, soft, _steal = (int(field) for field in fields)
        ours = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        ticks = os.sysconf("SC_CLK_TCK")
        return cls((user + nice + system + interrupts + soft) / ticks, ours, time.monotonic())

    def others_since(self, before: Busy) -> float:
        """Cores that others kept busy on average: what disturbed the measurement."""
        others = (self.machine - before.machine) - (self.ours - before.ours)
        return round(max(0.0, others) / (self.at - before.at), 2)
