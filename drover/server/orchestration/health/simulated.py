"""Checkers of hosts that are simulated in this server: they find every container well, as soon as it is theirs.

A text ``simUnhealthy`` in the name of a container keeps them silent about it.
"""

from __future__ import annotations

import asyncio

from drover.server.orchestration.agents.uris import is_simulated
from drover.server.orchestration.health.book import HEALTHY, Book, Target, Vote
from drover.server.orchestration.health.reports import Reports
from drover.server.orchestration.mirror import Mirror

SWITCH = "simUnhealthy"
_LARGEST_PLAN = 500


class SimulatedCheckers:
    """Votes in bulk."""

    def __init__(self, book: Book, hosts: Mirror, agents: Mirror, reports: Reports) -> None:
        self._book = book
        self._hosts = hosts
        self._agents = agents
        self._reports = reports
        self._waiting: set[int] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._hosts.ready()
        await self._agents.ready()
        await self._book.ready()
        self._book.on_change(self._see)
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, set()
            votes = [pair for instance_id in waiting for pair in self._to_give(self._book.get(instance_id))]
            for start in range(0, len(votes), _LARGEST_PLAN):
                await self._reports.vote(votes[start : start + _LARGEST_PLAN], HEALTHY)

    def _see(self, target: Target) -> None:
        if self._to_give(target):
            self._waiting.add(target.id)
            self._wake.set()

    def _to_give(self, target: Target | None) -> list[tuple[Target, Vote]]:
        if target is None or not target.running or SWITCH in str(target.record["name"]):
            return []
        return [
            (target, vote)
            for vote in target.votes.values()
            if vote.start_count != target.start_count and self._is_simulated(vote.host_id)
        ]

    def _is_simulated(self, host_id: int) -> bool:
        host = self._hosts.get(host_id)
        agent = None if host is None else self._agents.get(host["agentId"])
        return agent is not None and is_simulated(str(agent["uri"] or ""))
