"""Servers that shall finish their work, because their container is about to stop.

The server of the environment asks (`target.drain`) before it stops a target and waits for the answer, which comes when
the last session has ended or the time is over. A drained server stays out until its container is gone or was started
again; if it was not stopped after all, it comes back by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from drover.client.world import Container, World
from drover.host.balancer.model import server_name

RESTORE_SECONDS = 60.0
_TAKES_REQUESTS = frozenset({"starting", "running"})


@dataclass(slots=True)
class Draining:
    """One address. ``ended`` is when the request was answered, in the caller's seconds; None while it is not."""

    address: str
    runs: frozenset[tuple[str, int | None]]
    ended: float | None = None


@dataclass(slots=True)
class Drains:
    """All addresses that are being drained, by the name of their servers."""

    entries: dict[str, Draining] = field(default_factory=dict)

    def begin(self, address: str, world: World) -> Draining:
        """The newest request for an address counts; whoever waits for an older one sees that it was replaced."""
        entry = Draining(address, frozenset((each.uuid, each.start_count) for each in _at(address, world)))
        self.entries[server_name(address)] = entry
        return entry

    def is_current(self, entry: Draining) -> bool:
        return self.entries.get(server_name(entry.address)) is entry

    def names(self, world: World, now: float) -> frozenset[str]:
        """The servers that get nothing new. Forgets those whose container is gone, runs anew, or was not stopped."""
        for name in [name for name, entry in self.entries.items() if _is_over(entry, world, now)]:
            del self.entries[name]
        return frozenset(self.entries)

    def next_look(self, now: float) -> float | None:
        """Seconds until time alone may end a drain."""
        ends = [entry.ended + RESTORE_SECONDS - now for entry in self.entries.values() if entry.ended is not None]
        return max(0.0, min(ends)) if ends else None


def _is_over(entry: Draining, world: World, now: float) -> bool:
    present = list(_at(entry.address, world))
    if not present:
        return entry.ended is not None
    if any((each.uuid, each.start_count) not in entry.runs and each.state in _TAKES_REQUESTS for each in present):
        return True
    overdue = entry.ended is not None and now - entry.ended > RESTORE_SECONDS
    return overdue and any(each.state == "running" for each in present)


def _at(address: str, world: World) -> Iterator[Container]:
    return (each for each in world.containers.values() if each.primary_ip == address)
