"""The user's terminal as the two ends of a remote one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import AsyncIterator, Callable, Iterator

CHUNK = 16 * 1024


def is_terminal() -> bool:
    """A person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def raw_mode() -> Iterator[None]:
    """Pass every key through, Ctrl-C too; the terminal is restored whatever happens. No effect on a pipe."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    """Columns and rows of the terminal; 80 by 24 when it does not know."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 80, 24
    return found.columns or 80, found.lines or 24


@contextlib.contextmanager
def on_resize(call: Callable[[], None]) -> Iterator[None]:
    """Call back whenever the terminal gets another size."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def read_stdin() -> AsyncIterator[bytes]:
    """Pieces of standard input until its end.

    A thread reads, because the event loop cannot watch regular files (`drover exec -i web cat < file`). It is a
    daemon: a read that blocks on a terminal must not keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)
    stopped = threading.Event()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        while not stopped.is_set():
            try:
                data = os.read(descriptor, CHUNK)
            except OSError:
                # A terminal that was hung up reads as an error; for the program it is the end of its input.
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(pieces.put(data), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return
            if not data:
                return

    threading.Thread(target=read, name="read standard input", daemon=True).start()
    try:
        while data := await pieces.get():
            yield data
    finally:
        stopped.set()


def write(descriptor: int, data: bytes) -> None:
    """Write all bytes at once, past Python's text layer."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
