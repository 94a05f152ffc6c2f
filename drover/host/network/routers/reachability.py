"""Which peers answer: a counter for each, so that one lost request decides nothing.

The counter moves between 0 and 3, up with an answer and down without; at 0 a peer is out of reach. As in Rancher 1.6 a
peer that is new starts there. Of many peers only some are asked at a time, in turn: with every host asking every other
the requests would grow with the square of the hosts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

MOST = 3


class Reachability:
    """The counters of the peers, by address of their router."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._turn: deque[str] = deque()

    def expect(self, addresses: Iterable[str]) -> None:
        """The peers that matter from now on."""
        wanted = set(addresses)
        for gone in self.counters.keys() - wanted:
            del self.counters[gone]
        for new in wanted - self.counters.keys():
            self.counters[new] = 0
            self._turn.append(new)
        if len(self._turn) != len(wanted):
            self._turn = deque(each for each in self._turn if each in wanted)

    def next(self, count: int) -> list[str]:
        """The peers whose turn it is, at most ``count``."""
        chosen = [self._turn.popleft() for _ in range(min(count, len(self._turn)))]
        self._turn.extend(chosen)
        return chosen

    def note(self, address: str, *, answered: bool) -> None:
        """A peer has answered or not, or has asked us, which proves the way as well. Strangers are ignored."""
        if address in self.counters:
            step = 1 if answered else -1
            self.counters[address] = min(MOST, max(0, self.counters[address] + step))

    @property
    def unreachable(self) -> list[str]:
        return sorted(address for address, count in self.counters.items() if count == 0)
