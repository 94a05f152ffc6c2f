"""How long to leave a unit alone after an attempt to repair it.

A container that dies at once is started again at once, then ever later: a crash loop must not keep a host, the
database and the user's log busy. A unit that held for a minute starts afresh.
"""

from __future__ import annotations

from dataclasses import dataclass

_DELAYS = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_FORGET_SECONDS = 60.0


@dataclass(slots=True)
class _Attempts:
    count: int
    last: float


class Repairs:
    """The attempts of one service's units. Times are those of a monotonic clock, in seconds, passed in."""

    def __init__(self) -> None:
        self._attempts: dict[str, _Attempts] = {}

    def held(self, now: float) -> dict[str, float]:
        """Units to leave alone, with the time at which their turn comes."""
        if not self._attempts:
            return {}
        due = {uuid: each.last + _DELAYS[min(each.count, len(_DELAYS) - 1)] for uuid, each in self._attempts.items()}
        return {uuid: time for uuid, time in due.items() if time > now}

    def attempted(self, uuid: str, now: float) -> None:
        known = self._attempts.get(uuid)
        if known is None or now - known.last > _FORGET_SECONDS + _DELAYS[min(known.count, len(_DELAYS) - 1)]:
            self._attempts[uuid] = _Attempts(1, now)
        else:
            known.count += 1
            known.last = now

    def count(self, uuid: str) -> int:
        known = self._attempts.get(uuid)
        return 0 if known is None else known.count

    def forget(self, uuid: str) -> None:
        self._attempts.pop(uuid, None)

    def forget_all(self) -> None:
        """Something that may have been the reason has changed (a host came, memory was freed): try again now."""
        self._attempts.clear()
