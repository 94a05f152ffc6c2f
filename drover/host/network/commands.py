"""Programs of the system that are called: always an argument list, never a shell, always with a limit of time."""

from __future__ import annotations

import asyncio
import os

TIMEOUT = 30.0


class CommandError(Exception):
    """A program could not be run or failed; the text says which and why."""


async def run(*argv: str, stdin: str = "", timeout: float = TIMEOUT) -> str:
    """The program's standard output. Raises CommandError."""
    # A file in memory instead of a pipe: a program that ends before it has read everything would break the pipe.
    given = os.memfd_create("stdin")
    try:
        os.write(given, stdin.encode())
        os.lseek(given, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=given, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise CommandError(f"cannot run {argv[0]}: {error.strerror}. Is it installed?") from error
    finally:
        os.close(given)
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise CommandError(f"{' '.join(argv)} did not finish within {timeout:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = errors.decode("utf-8", "replace").strip()
        raise CommandError(f"{' '.join(argv)} failed ({process.returncode}): {said}")
    return output.decode("utf-8", "replace")
