"""How long to wait before trying again.

Clients of one server lose it at the same moment and would come back at the same moment too. Exponential
growth limits how often one client asks; full jitter spreads many clients over the whole interval.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays in seconds that grow up to a limit: `next_delay()` after each failure, `reset()` after a
    success.

    Each delay is drawn between `floor` and the current ceiling. The ceiling starts at `initial`, is
    multiplied by `factor` after every failure and never exceeds `maximum`.
    """

    initial: float = 0.5
    maximum: float = 30.0
    factor: float = 2.0
    floor: float = 0.05
    draw: Callable[[float, float], float] = field(default=random.uniform, repr=False)
    failures: int = field(default=0, init=False)
    _ceiling: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.initial <= self.maximum:
            raise ValueError(f"initial delay {self.initial} must be positive and at most maximum {self.maximum}")
        if self.factor < 1:
            raise ValueError(f"factor {self.factor} must be at least 1, or the delays shrink")
        self._ceiling = self.initial

    def next_delay(self) -> float:
        """Seconds to wait now; counts one failure."""
        ceiling = self._ceiling
        self.failures += 1
        self._ceiling = min(self.maximum, ceiling * self.factor)
        return self.draw(min(self.floor, ceiling), ceiling)

    def reset(self) -> None:
        """The other side answers again: the next failure starts from `initial`."""
        self.failures = 0
        self._ceiling = self.initial
