"""Slows down guessing: each failed log-in of a name from an address doubles the wait before the next try.

An address that keeps failing with many names has to wait, too: checking a password is costly on purpose, and that
must not become a means to keep the server busy.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FREE_TRIES = 3
_FREE_TRIES_OF_ADDRESS = 30
_ANY_NAME = ""
_LONGEST_SECONDS = 300.0
_FORGET_SECONDS = 3600.0
_REMEMBERED = 10_000

Key = tuple[str, str]


@dataclass(slots=True)
class _Failures:
    count: int
    last: float
    blocked_until: float


class LoginLimiter:
    """Counts failures by (login name, client address). ``clock`` is in seconds and only ever rises."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()

    def wait_seconds(self, login: str, address: str) -> float:
        """How long the next try has to wait; 0 when it may come now."""
        found = (self._failures.get(key) for key in (_key(login, address), (_ANY_NAME, address)))
        return max([0.0, *(each.blocked_until - self._clock() for each in found if each is not None)])

    def failed(self, login: str, address: str) -> None:
        self._count(_key(login, address), _FREE_TRIES)
        self._count((_ANY_NAME, address), _FREE_TRIES_OF_ADDRESS)

    def _count(self, key: Key, free_tries: int) -> None:
        now = self._clock()
        found = self._failures.pop(key, None)
        if found is None or now - found.last > _FORGET_SECONDS:
            found = _Failures(0, now, now)
        found.count += 1
        found.last = now
        if found.count >= free_tries:
            found.blocked_until = now + min(_LONGEST_SECONDS, 2.0 ** min(found.count - free_tries, 32))
        self._failures[key] = found
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, login: str, address: str) -> None:
        self._failures.pop(_key(login, address), None)


def _key(login: str, address: str) -> Key:
    return login.casefold()[:256], address
