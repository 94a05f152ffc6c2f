"""Starts a router's controller again when it dies, so that what it started lives on.

In a container the first process decides: when it ends, all end, and with them charon and every tunnel. This program is
that first process. It does nothing but start the controller and wait, needs little memory, and imports nothing that
could fail. It ends when it is told to, and the controller with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

KEPT = "DROVER_KEPT"
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
LONG_LIFE_SECONDS = 60.0


def become_keeper(arguments: Sequence[str]) -> None:
    """Turn this process into the keeper of `drover <arguments>`; returns only where it is kept already."""
    if os.environ.get(KEPT):
        return
    os.environ[KEPT] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "drover.host.network.routers.keeper", *arguments])  # noqa: S606


def keep(command: Sequence[str]) -> int:
    """Run a command again whenever it ends, until SIGTERM or SIGINT; its last status."""
    child: subprocess.Popen[bytes] | None = None
    stopping = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.set()
        if child is not None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    pause = FIRST_PAUSE
    status = 0
    while not stopping.is_set():
        started = time.monotonic()
        child = subprocess.Popen(command)
        status = child.wait()
        if stopping.is_set():
            break
        pause = FIRST_PAUSE if time.monotonic() - started > LONG_LIFE_SECONDS else min(pause * 2, LONGEST_PAUSE)
        sys.stderr.write(f"the controller ended with status {status}; starting it again in {pause:.1f} s\n")
        sys.stderr.flush()
        stopping.wait(pause)
    return max(status, 0)


if __name__ == "__main__":
    sys.exit(keep([sys.executable, "-m", "drover", *sys.argv[1:]]))
