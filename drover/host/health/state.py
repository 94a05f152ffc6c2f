"""How results of probes add up: the rules of HAProxy's checks, which Rancher 1.6 used.

The first result decides alone. After that, `fall` failures in a row make a target DOWN and `rise` successes in a row
make it UP again; a result of the other kind starts the count anew.
"""

from __future__ import annotations

from dataclasses import dataclass

RISE = 2
FALL = 3


@dataclass(slots=True)
class CheckState:
    """`up` is None until the first result."""

    rise: int = RISE
    fall: int = FALL
    up: bool | None = None
    streak: int = 0

    def take(self, success: bool) -> bool:
        """Count a result; True when the target went up or down by it."""
        if self.up is None:
            self.up = success
            return True
        if success == self.up:
            self.streak = 0
            return False
        self.streak += 1
        if self.streak < (self.rise if success else self.fall):
            return False
        self.up, self.streak = success, 0
        return True

    @property
    def failing(self) -> bool:
        """Whether the last result was a failure."""
        return (self.up is False and not self.streak) or (self.up is True and self.streak > 0)

    @property
    def status(self) -> str:
        """As HAProxy shows it: `UP`, `UP 1/3`, `DOWN 1/2`, `DOWN`."""
        if self.up is None:
            return f"UP 1/{self.fall}"
        if self.up:
            return f"UP {self.fall - self.streak}/{self.fall}" if self.streak else "UP"
        return f"DOWN {self.streak}/{self.rise}" if self.streak else "DOWN"
