"""Running a short-lived program and getting its output or a useful error."""

import asyncio
import contextlib

from lab.errors import LabError


async def run(*argv: str, timeout: float = 30.0, stdin: bytes | None = None) -> str:
    """Run a program to its end and return what it printed; raise `LabError` with its last words if it fails."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as missing:
        raise LabError(f"the program {argv[0]!r} is missing; `make lab-deps` installs what the lab needs") from missing
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate(stdin)
    except TimeoutError as late:
        raise LabError(f"{' '.join(argv)}: no end after {timeout:g} s") from late
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        reason = (errors or output).decode(errors="replace").strip()
        raise LabError(f"{' '.join(argv)}: exit status {process.returncode}: {reason[-2000:]}")
    return output.decode(errors="replace")


def in_namespace(namespace: str, *argv: str) -> tuple[str, ...]:
    """The command line that runs `argv` in a network namespace.

    `nsenter` rather than `ip netns exec`: the latter remounts /sys, which would hide the cgroups from an engine.
    """
    return ("nsenter", f"--net=/run/netns/{namespace}", "--", *argv)
