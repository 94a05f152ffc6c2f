"""What happens to each service, while it happens.

At a terminal one line a service is redrawn in place; elsewhere (CI logs, pipes) every change is a line of its own.
Both go to standard error: standard output belongs to what a script wants to read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drover.cli.output import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from drover.client.apply import Phase, Report
    from drover.client.resource import Resource


class PlainProgress:
    """One line for each change."""

    def __init__(self, write: Callable[[str], object] = sys.stderr.write) -> None:
        self._write = write
        self._last: dict[str, str] = {}

    def report(self, name: str, phase: Phase, text: str) -> None:
        line = f"{name}: {phase.value}" + (f" ({text})" if text else "")
        if self._last.get(name) != line:
            self._last[name] = line
            self._write(printable(line) + "\n")

    def on_change(self, resource: Resource) -> None:
        """States in between are of interest only to someone who watches."""


class LiveProgress:
    """A table that is redrawn; shows also what the server says about each service."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._rows: dict[str, tuple[Phase, str, float]] = {}
        self._messages: dict[str, str] = {}

    def report(self, name: str, phase: Phase, text: str) -> None:
        self._rows[name] = (phase, text, time.monotonic() - self._started)

    def on_change(self, resource: Resource) -> None:
        self._messages[resource.name] = resource.transitioning_message or resource.shown_state

    def __rich__(self) -> RenderableType:
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        from drover.client.apply import Phase

        table = Table.grid(padding=(0, 2))
        now = time.monotonic() - self._started
        for name, (phase, text, since) in self._rows.items():
            done, failed = phase is Phase.DONE, phase is Phase.FAILED
            mark = Text("✓", "green") if done else Text("✗", "red") if failed else Spinner("dots")
            detail = text or ("" if done else self._messages.get(name, ""))
            elapsed = "" if done or failed else f"{now - since:.0f}s"
            table.add_row(mark, Text(printable(name)), Text(phase.value), Text(printable(detail), "dim"), elapsed)
        return table


Progress = PlainProgress | LiveProgress


@contextmanager
def showing() -> Iterator[Progress]:
    """The display that fits where the output goes."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield PlainProgress()
        return
    from rich.console import Console
    from rich.live import Live

    progress = LiveProgress()
    with Live(progress, console=Console(stderr=True), refresh_per_second=8):
        yield progress


def reporter(progress: Progress) -> Report:
    """The function that `apply` calls."""
    return progress.report
