"""The `drover` program as a user calls it: a process with arguments, input, output and an exit status."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DROVER = str(Path(sys.executable).with_name("drover"))


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended."""

    status: int
    out: str
    err: str
    seconds: float


class Command:
    """Runs `drover ARGUMENTS` against one server; `prefix` is put before it, e.g. to enter a namespace."""

    def __init__(self, server_url: str, home: Path, *, prefix: Sequence[str] = ()) -> None:
        self.prefix = tuple(prefix)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DROVER_", "RANCHER_"))}
        config = home / "cli.json"
        self._environment = {**kept, "DROVER_URL": server_url, "DROVER_CLIENT_CONFIG": str(config), "COLUMNS": "250"}

    async def __call__(
        self, *arguments: str, status: int | None = 0, stdin: bytes | None = None, timeout: float = 120.0
    ) -> Finished:
        """Run to the end; fails when the exit status is not `status` (None: any)."""
        process = await self._spawn(arguments, stdin=PIPE if stdin is not None else asyncio.subprocess.DEVNULL)
        began = time.monotonic()
        shown = f"drover {' '.join(arguments)}"
        try:
            async with asyncio.timeout(timeout):
                out, err = await process.communicate(stdin)
        except TimeoutError as late:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(f"{shown}: no end after {timeout:g} s\n{_text(out)}\n{_text(err)}") from late
        done = Finished(process.returncode or 0, _text(out), _text(err), time.monotonic() - began)
        if status is not None and done.status != status:
            raise AssertionError(f"{shown}: exit status {done.status}, expected {status}\n{done.out}\n{done.err}")
        return done

    async def start(self, *arguments: str) -> Process:
        """Start without waiting; standard error goes where standard output goes. The caller ends it."""
        return await self._spawn(arguments, stdin=asyncio.subprocess.DEVNULL, stderr=STDOUT)

    async def _spawn(self, arguments: Sequence[str], *, stdin: int, stderr: int = PIPE) -> Process:
        argv = (*self.prefix, DROVER, *arguments)
        return await asyncio.create_subprocess_exec(
            *argv, stdin=stdin, stdout=PIPE, stderr=stderr, env=self._environment
        )


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
