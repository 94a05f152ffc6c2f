"""Programs under measurement: started from this checkout, measured through /proc, ended by us alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 15.0
MIB = 1024 * 1024


class BenchError(Exception):
    """A bench cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Program:
    """A running program. ``log`` has everything it printed."""

    name: str
    pid: int
    log: Path

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def memory_mib(self) -> float:
        """Resident memory now."""
        return _status_kib(self.pid, "VmRSS") / 1024

    def peak_memory_mib(self) -> float:
        """The most resident memory since the program started."""
        return _status_kib(self.pid, "VmHWM") / 1024

    def last_words(self, lines: int = 12) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its ended children. The clock's tick is usually 10 ms."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except FileNotFoundError as gone:
        raise BenchError(f"process {pid} ended while it was measured") from gone
    # The program's name, in parentheses, may hold blanks; fields 14 and 15 count from behind it.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def _status_kib(pid: int, name: str) -> int:
    try:
        text = (_PROC / str(pid) / "status").read_text()
    except FileNotFoundError as gone:
        raise BenchError(f"process {pid} ended while it was measured") from gone
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchError(f"the kernel does not tell {name} of process {pid}")


@contextlib.asynccontextmanager
async def running(name: str, argv: Sequence[str], log: Path) -> AsyncIterator[Program]:
    """A program for the length of the block; SIGTERM at its end, SIGKILL if that does not help."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
        )
    try:
        yield Program(name, process.pid, log)
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def environment() -> dict[str, str]:
    """Ours without what would choose a program's settings or keep Python from caching compiled modules."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in unwanted and not name.startswith(("DROVER_", "CATTLE_", "RANCHER_"))
    }


def drover() -> str:
    """The program next to the interpreter that runs us."""
    command = Path(sys.executable).with_name("drover")
    if not command.exists():
        raise BenchError(f"{command} does not exist; `make venv` installs the project into .venv")
    return str(command)
