"""What the exit status of `drover` means. Scripts rely on these numbers: add, never change."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import IntEnum

from drover.common.errors import DroverError, SettingsError


class Exit(IntEnum):
    """Exit status of a command; `exec` passes on the status of the program in the container instead."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    AUTHENTICATION = 5
    FORBIDDEN = 6
    CONNECTION = 7
    CONFLICT = 8
    INTERRUPTED = 130


class UsageError(DroverError):
    """The command line is wrong in a way that the option parser cannot see."""


def exit_for(error: BaseException) -> Exit:
    """The status that tells a script what kind of failure it was."""
    # Imported here because the client's error module would slow down `drover --help`.
    from drover.cli.config import ConfigError
    from drover.client import errors

    by_class: tuple[tuple[type[BaseException], Exit], ...] = (
        (UsageError, Exit.USAGE),
        (SettingsError, Exit.USAGE),
        (ConfigError, Exit.USAGE),
        (errors.AuthenticationFailed, Exit.AUTHENTICATION),
        (errors.Forbidden, Exit.FORBIDDEN),
        (errors.NotFound, Exit.NOT_FOUND),
        (errors.NoMatch, Exit.NOT_FOUND),
        (errors.Ambiguous, Exit.NOT_FOUND),
        (errors.Conflict, Exit.CONFLICT),
        (errors.WaitTimeout, Exit.TIMEOUT),
        (errors.ConnectionFailed, Exit.CONNECTION),
    )
    return next((status for cls, status in by_class if isinstance(error, cls)), Exit.FAILURE)


def status_of(work: Callable[[], int | None]) -> int:
    """The exit status of `work`, or the one of its error after printing it."""
    try:
        status = work() or Exit.OK
        sys.stdout.flush()
    except DroverError as error:
        complain(str(error))
        return exit_for(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, `less`) has seen enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return status


def complain(text: str) -> None:
    """One line on standard error."""
    from drover.cli.output import printable

    sys.stderr.write(f"drover: {printable(text)}\n")
