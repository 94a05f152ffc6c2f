"""The processes of a lab: started detached, found again by anybody.

A lab outlives the command that made it and must be removable after any crash, so no parent's memory counts. A
process belongs to a lab when its environment carries the lab's tag, when it lives in one of the lab's network
namespaces, when it is a member of the lab's cgroups (containers, whose environment is their own), or when its pid
and start time are in the record.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from lab.layout import ENVIRONMENT_TAG

_PROC = Path("/proc")


class ProcessRecord(msgspec.Struct, frozen=True):
    """A process by the pair that never repeats until the next boot: pid and start time (clock ticks since boot)."""

    role: str
    pid: int
    started: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def spawn(argv: Sequence[str], *, role: str, tag: str, log: Path, environment: Mapping[str, str]) -> ProcessRecord:
    """Start a daemon in its own session, with its output appended to `log`, and return at once."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        {**environment, ENVIRONMENT_TAG: tag},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return ProcessRecord(role=role, pid=pid, started=start_time(pid) or 0)


def start_time(pid: int) -> int | None:
    """When the process started, or None if there is none; a zombie, which only waits for its parent, counts as none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def all_pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def with_tag(tag: str) -> set[int]:
    """Processes whose environment names the lab."""
    wanted = f"{ENVIRONMENT_TAG}={tag}".encode()
    return _matching(lambda pid: wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"))


def in_namespaces(namespaces: Iterable[str]) -> set[int]:
    """Processes that live in one of the named network namespaces."""
    inodes = set()
    for namespace in namespaces:
        with contextlib.suppress(FileNotFoundError):
            inodes.add((Path("/run/netns") / namespace).stat().st_ino)
    return _matching(lambda pid: (_PROC / str(pid) / "ns" / "net").stat().st_ino in inodes)


def in_cgroup(path: str) -> set[int]:
    """Processes in the cgroup `path` (relative to the root of a hierarchy) or below it, in any hierarchy."""
    start = f"/{path}"

    def member(pid: int) -> bool:
        for line in (_PROC / str(pid) / "cgroup").read_text().splitlines():
            where = line.split(":", 2)[2]
            if where == start or where.startswith(f"{start}/"):
                return True
        return False

    return _matching(member)


def _matching(test: Callable[[int], bool]) -> set[int]:
    found = set()
    for pid in all_pids():
        # A process may end while it is looked at; one that forbids even root to look is no lab's.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if test(pid) and start_time(pid) is not None:
                found.add(pid)
    return found - {os.getpid()}


async def end(pids: Iterable[int], *, with_signal: signal.Signals = signal.SIGKILL, timeout: float = 10.0) -> set[int]:
    """Signal processes and wait until they are gone; return those that are still there after `timeout` seconds."""
    left = {pid: started for pid in pids if (started := start_time(pid)) is not None}
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, with_signal)
    deadline = time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        reap(left)
        left = {pid: started for pid, started in left.items() if start_time(pid) == started}
        if left:
            await asyncio.sleep(0.02)
    return set(left)


def reap(pids: Iterable[int]) -> None:
    """Collect the exit status of those pids that are our children, lest they stay as zombies."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
