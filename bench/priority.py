"""Precedence for the measured programs, for a machine that cannot be had alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.processes import BenchError

_NICE = -12
# Where the kernel shares the processor between sessions first, niceness counts only within a session.
_SESSION = Path("/proc/self/autogroup")


def favour(pids: Iterable[int]) -> None:
    """The same for programs that were started in sessions of their own."""
    for pid in pids:
        session = Path(f"/proc/{pid}/autogroup")
        if session.exists():
            session.write_text(str(_NICE))


@contextlib.contextmanager
def precedence() -> Iterator[None]:
    """Programs that are started within the block go before those of other sessions. Needs root."""
    try:
        os.nice(_NICE)
        if _SESSION.exists():
            _SESSION.write_text(str(_NICE))
    except PermissionError as denied:
        raise BenchError("--precedence needs root: only root may go before others") from denied
    try:
        yield
    finally:
        # The session may be the caller's shell, which lives on.
        if _SESSION.exists():
            _SESSION.write_text("0")
        os.nice(-_NICE)
