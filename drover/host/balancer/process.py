"""A program that outlives the one that started it.

It runs in a session of its own and is recognised again by its process id, so that a controller which dies takes no
connection with it, and the next one takes over what still runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from drover.common.errors import DroverError

_LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)


class ProgramMissing(DroverError):
    """The program is not installed."""


@dataclass(slots=True)
class Daemon:
    """A running process; our child or one that a former controller started."""

    pid: int
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def start(cls, command: Sequence[str]) -> Daemon:
        """Raises ProgramMissing. Its output goes where ours goes."""
        try:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        except FileNotFoundError as error:
            raise ProgramMissing(f"{command[0]} is not installed; install it or give its path") from error
        return cls(child.pid, child)

    @property
    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    async def ended(self) -> None:
        """Return when the process is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        except OSError as error:  # an older container engine may not allow the call
            log.debug("process.no_pidfd", pid=self.pid, reason=error.strerror)
            await self._look_until_ended()
            return
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            if self.child is not None:
                self.child.poll()

    async def _look_until_ended(self) -> None:
        while self.alive:  # noqa: ASYNC110 - nothing tells of the end of a process that is not our child
            await asyncio.sleep(_LOOK_SECONDS)

    def send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def stop(self, first: signal.Signals, grace: float) -> None:
        """Ask nicely, wait up to ``grace`` seconds, then insist."""
        for number, seconds in ((first, grace), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if not self.alive:
                return
            self.send(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), seconds)


async def check_output(command: Sequence[str], *, seconds: float) -> tuple[int, str]:
    """Exit status and output of a short program. Raises TimeoutError and ProgramMissing."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(f"{command[0]} is not installed; install it or give its path") from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
