"""Coming back to something that an agent did not do: later each time, with the reason shown meanwhile."""

from __future__ import annotations

from drover.server.lifecycle import Again, Run
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.settings import Settings


def later(run: Run, settings: Settings, reason: str) -> Again:
    """Try again after 2 s and a little more each time, at most ``process.retry_max_wait.millis``."""
    longest = seconds(settings, "process.retry_max_wait.millis")
    return Again(min(longest, 2.0 + 0.1 * float(2 ** min(run.attempt - 1, 16))), reason)
