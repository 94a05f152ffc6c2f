"""What the exit status of `drover` means. Scripts rely on these numbers: add, never change."""

from __future__ import annotations

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
