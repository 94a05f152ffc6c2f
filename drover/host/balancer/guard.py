"""Start the controller again when it was killed.

A container ends with its main process, and HAProxy with it. So the main process is a shell of one megabyte that does
nothing but wait: a controller that is killed, for want of memory for example, is started anew, and HAProxy has not
missed it. A controller that ends by itself, with an error or without, ends the container as usual.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

FLAG = "--guard"
VARIABLE = "DROVER_GUARD"

_SCRIPT = """
trap 'stopping=yes; kill -TERM "$child" 2>/dev/null' TERM INT
while :; do
    "$@" &
    child=$!
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
    if [ -n "$stopping" ] || [ "$status" -le 128 ]; then
        exit "$status"
    fi
    sleep 0.5
done
"""


def become_guard() -> NoReturn:
    """Turn this process into the guard of another one with the same arguments. Raises OSError without a shell."""
    arguments = [argument for argument in sys.argv[1:] if argument != FLAG]
    command = ("sh", "-c", _SCRIPT, "drover-guard", sys.executable, "-m", "drover", *arguments)
    os.execve("/bin/sh", command, {**os.environ, VARIABLE: "false"})  # noqa: S606 - a fixed script, values as arguments
