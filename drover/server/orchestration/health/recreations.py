"""How failed containers are replaced without making things worse: not all at once, and preferably elsewhere.

When a fault of the network or of the checkers makes many containers look unhealthy together, replacing them all
would be the bigger outage. And a container that failed on one host is not sent back to it while it has a choice.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from drover.server.orchestration.settings import Settings
from drover.server.store import Changes, Record

SETTING = "health.recreate.percent"
"""Share of an environment's units that may be replaced for their health within a minute; 100 and more: all."""
PERCENT = 20
LEAST = 5
WINDOW_SECONDS = 60.0
AVOID_MS = 10 * 60 * 1000
_FAILED_HOSTS = "failedHosts"


class Recreations:
    """Counts what was replaced in the last minute, by environment. Units that have to wait are looked at again."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._taken: dict[int, deque[tuple[float, int]]] = defaultdict(deque)

    def allowed(self, account_id: int, units: int) -> int:
        """How many units may be replaced now, in an environment that has so many."""
        text = self._settings.get(SETTING).strip()
        percent = int(text) if text.isdigit() else PERCENT
        if percent >= 100:
            return units
        taken = self._recent(account_id)
        return max(0, max(LEAST, units * percent // 100) - sum(count for _, count in taken))

    def take(self, account_id: int, count: int) -> None:
        if count:
            self._taken[account_id].append((self._clock(), count))

    def wait(self, account_id: int) -> float:
        """Seconds until more may be replaced."""
        taken = self._recent(account_id)
        return 0.05 if not taken else max(0.05, taken[0][0] + WINDOW_SECONDS - self._clock())

    def _recent(self, account_id: int) -> deque[tuple[float, int]]:
        taken = self._taken[account_id]
        while taken and taken[0][0] <= self._clock() - WINDOW_SECONDS:
            taken.popleft()
        return taken


def plan_failure(changes: Changes, unit: Record, host_id: int | None, now: int) -> None:
    """Plan to remember, with the unit, that it failed on a host. ``now`` in milliseconds."""
    if host_id is None:
        return
    recent = {name: until for name, until in _failures(unit).items() if until > now and name != str(host_id)}
    changes.update(unit, {_FAILED_HOSTS: {**recent, str(host_id): now + AVOID_MS}})


def avoided_hosts(unit: Record, now: int) -> list[int]:
    """Hosts on which the unit failed lately."""
    return sorted(int(host_id) for host_id, until in _failures(unit).items() if until > now)


def _failures(unit: Record) -> Mapping[str, int]:
    found: Mapping[str, int] = unit[_FAILED_HOSTS] or {}
    return found
