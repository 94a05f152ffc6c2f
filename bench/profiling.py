"""Profiles of a running program: sampled from outside with py-spy, aggregated by function."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, Program

_SAMPLES_PER_SECOND = 200
_END_SECONDS = 60.0
_OURS = "(drover/"
_FRAME = re.compile(r"^(?P<function>.+) \((?P<file>[^()]*?)(?::\d+)?\)$")


@contextlib.asynccontextmanager
async def profiled(program: Program, directory: Path | None, name: str) -> AsyncIterator[None]:
    """Sample the program during the block: ``<name>.raw.txt`` (stacks, input of flame graphs) and ``<name>.top.txt``.

    Blocks of one name add up. Without a directory nothing happens. Only threads that hold the interpreter lock count,
    so the sum is the interpreter's time and not that of waiting threads.
    """
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    raw, sampled = directory / f"{name}.raw.txt", directory / f"{name}.new"
    argv = ("record", "--pid", str(program.pid), "--rate", str(_SAMPLES_PER_SECOND), "--format", "raw", "--gil")
    process = await asyncio.create_subprocess_exec(
        _py_spy(),
        *argv,
        "--output",
        str(sampled),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        async with asyncio.timeout(_END_SECONDS):
            _, errors = await process.communicate()
    if not sampled.exists():
        raise BenchError(f"py-spy wrote no profile: {errors.decode(errors='replace')[-400:]}")
    with raw.open("a") as stacks:
        stacks.write(sampled.read_text())
    sampled.unlink()
    (directory / f"{name}.top.txt").write_text(table(aggregate(raw.read_text())))


@dataclass(frozen=True, slots=True)
class Cost:
    """Shares of all samples: ``own`` with the function on top of the stack, ``total`` with it anywhere.

    ``charged`` is the share in which it is the deepest function of ours: its own time and that of the libraries that
    it calls. These shares add up, so they answer where the time goes.
    """

    function: str
    own: float
    charged: float
    total: float


def aggregate(raw: str) -> list[Cost]:
    """Costs by function, from lines of ``frame;frame;... count``; a recursive function counts once a stack."""
    own: Counter[str] = Counter()
    charged: Counter[str] = Counter()
    total: Counter[str] = Counter()
    samples = 0
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            continue
        frames = [_function(frame) for frame in stack.split(";")]
        samples += int(count)
        own[frames[-1]] += int(count)
        charged[next((frame for frame in reversed(frames) if _OURS in frame), frames[-1])] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    return [
        Cost(function, own[function] / samples, charged[function] / samples, count / samples)
        for function, count in sorted(total.items(), key=lambda item: -item[1])
    ]


def table(costs: list[Cost], most: int = 60) -> str:
    """The functions with the largest charged shares, then those with the largest totals."""
    header = f"{'charged':>7} {'own':>7} {'total':>7}  function"
    by_charged = sorted(costs, key=lambda each: -each.charged)[:most]
    lines = [header, *map(_line, by_charged), "", header, *map(_line, costs[:most])]
    return "\n".join(lines) + "\n"


def _line(cost: Cost) -> str:
    return f"{cost.charged:7.1%} {cost.own:7.1%} {cost.total:7.1%}  {cost.function}"


def _function(frame: str) -> str:
    """Without the line number: ``execute (drover/server/store/reader.py)``."""
    match = _FRAME.match(frame)
    if match is None:
        return frame
    return f"{match['function']} ({match['file']})"


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise BenchError("py-spy is missing; `make venv` installs it")
    return found
