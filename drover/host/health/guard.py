"""Holds back bad news that may be the checker's own fault.

When most of what was well fails at once, and the checkers of other hosts cannot be reached either, it is more likely
that this host has lost its network than that every container died. Then nothing is reported for a while. One
container that fails alone is reported at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

log = structlog.get_logger(__name__)

LEAST_FAILING = 3
MOST = 0.5
LONGEST_SECONDS = 30.0
_ASKED_PEERS = 5

Reach = Callable[[str], Awaitable[bool]]


class Guard:
    """`failing()` counts (failing, all) among the targets that were well until now, those that are held included."""

    def __init__(
        self,
        *,
        release: Callable[[Collection[str]], None],
        failing: Callable[[Collection[str]], tuple[int, int]],
        peers: Callable[[], Sequence[str]],
        reach: Reach,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._release = release
        self._failing = failing
        self._peers = peers
        self._reach = reach
        self._pause = pause
        self._longest = longest
        self._held: dict[str, float] = {}
        self._wake = asyncio.Event()
        self.holding = False

    def down(self, key: str, interval: float) -> None:
        """A target went down."""
        self._held[key] = interval
        self._wake.set()

    def forget(self, key: str) -> None:
        """The target is up again, or is no longer checked: there is nothing to report."""
        self._held.pop(key, None)

    async def run(self) -> None:
        """Decide, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waited = 0.0
            while self._held and await self._suspect(waited):
                if not self.holding:
                    self.holding = True
                    log.warning("health.guard_holds", targets=len(self._held), reason="most targets failed at once")
                pause = max(self._held.values())
                await self._pause(pause)
                waited += pause
            if self.holding:
                self.holding = False
                log.warning("health.guard_ends", targets=len(self._held), waited=round(waited, 1))
            released = tuple(self._held)
            self._held.clear()
            if released:
                self._release(released)

    async def _suspect(self, waited: float) -> bool:
        """Whether this checker is to be doubted rather than its targets."""
        failing, known = self._failing(self._held.keys())
        if failing < LEAST_FAILING or failing <= known * MOST or waited >= self._longest:
            return False
        peers = self._peers()
        if not peers:
            return waited == 0.0  # nobody to compare with: one more look, and then the truth
        asked = peers[:_ASKED_PEERS]
        return not any(await asyncio.gather(*(self._reach(peer) for peer in asked)))
