"""Read and change the kernel's tables with iproute2, many entries at a time.

A pass over the tables of 20,000 containers takes iproute2 0.1 s to read and 0.7 s to write; a netlink library in Python
needs 4 s and 24 s for it, and 110 MB. So a table is one `ip -json` and a set of changes is one `ip -batch`, also when
the set has one member.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from drover.common.errors import DroverError

TIMEOUT_SECONDS = 60.0

_FAILED = re.compile(r"^Command failed -:(\d+)", re.MULTILINE)


class KernelRefused(DroverError):
    """A command of iproute2 or iptables failed; the text is the program's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    output: bytes
    error: str


async def run(*command: str, stdin: bytes = b"") -> Answer:
    """Run a program to its end. Raises KernelRefused when it is missing or does not end in time."""
    with _as_file(stdin) as source:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except FileNotFoundError as error:
            raise KernelRefused(f"{command[0]} is not installed: it belongs to the packages of the image") from error
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise KernelRefused(f"{' '.join(command)} did not end within {TIMEOUT_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Answer(process.returncode, output, errors.decode(errors="replace").strip())


async def checked(*command: str, stdin: bytes = b"") -> bytes:
    """The output of a program. Raises KernelRefused with its words when it fails."""
    answer = await run(*command, stdin=stdin)
    if answer.status != 0:
        raise KernelRefused(f"{' '.join(command)}: {answer.error or f'status {answer.status}'}")
    return answer.output


async def query(*command: str) -> list[dict[str, Any]]:
    """What an `ip -json` or `bridge -json` command lists; nothing for a device or table that does not exist."""
    answer = await run(*command)
    if answer.status != 0:
        missing = ("Cannot find device", "does not exist", "FIB table does not exist")
        if any(text in answer.error for text in missing):
            return []
        raise KernelRefused(f"{' '.join(command)}: {answer.error or f'status {answer.status}'}")
    rows: list[dict[str, Any]] = msgspec.json.decode(answer.output) if answer.output.strip() else []
    return [row for row in rows if row]


async def batch(program: Literal["ip", "bridge"], lines: Sequence[str]) -> list[str]:
    """Do all the lines; those that failed, each with the kernel's word, are returned and stop none of the others."""
    if not lines:
        return []
    answer = await run(program, "-force", "-batch", "-", stdin=("\n".join(lines) + "\n").encode())
    if answer.status == 0:
        return []
    failed: list[str] = []
    said = ""
    for text in answer.error.splitlines():
        match = _FAILED.match(text)
        if match is None:
            said = text
            continue
        failed.append(f"{lines[int(match.group(1)) - 1]}: {said}")
    return failed or [answer.error or f"{program} ended with status {answer.status}"]


@contextmanager
def _as_file(content: bytes) -> Iterator[int]:
    """A file in memory: unlike a pipe it may be left unread, and a program that ends early is no error of ours."""
    if not content:
        yield asyncio.subprocess.DEVNULL
        return
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield file.fileno()
