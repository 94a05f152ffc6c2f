"""The health of containers: which hosts check one, what their verdicts amount to, and what happens when time runs out.

``book`` holds every checked container with its votes in memory, kept current from the commits; ``reports`` takes what
checkers say; ``judge`` draws conclusions and keeps the checkers' assignments; ``deadlines`` ends initializations that
take too long; ``recreations`` limits how many containers are replaced at once. An idle server does nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.server.orchestration.context import Context
from drover.server.orchestration.health.book import Book
from drover.server.orchestration.health.deadlines import Deadlines
from drover.server.orchestration.health.judge import Judge
from drover.server.orchestration.health.network_stacks import NetworkStacks
from drover.server.orchestration.health.reports import CannotVerify, Reports
from drover.server.orchestration.health.silence import Silence
from drover.server.orchestration.health.simulated import SimulatedCheckers
from drover.server.orchestration.mirror import Mirror

__all__ = ["CannotVerify", "Health", "Reports", "build"]


@dataclass(frozen=True, slots=True)
class Health:
    """The running parts of this room: await ``run`` of each of ``services`` in a task of its own."""

    book: Book
    reports: Reports
    judge: Judge
    deadlines: Deadlines

    services: tuple[Judge | Deadlines | Silence | SimulatedCheckers, ...]


def build(context: Context, *, hosts: Mirror, agents: Mirror) -> Health:
    """Put the room together; ``hosts`` and ``agents`` are the mirrors that the server has anyway."""
    book = Book(context.store)
    stacks = NetworkStacks(context.store)
    judge = Judge(context, book, hosts, stacks)
    reports = Reports(context, book, hosts, stacks)
    deadlines = Deadlines(context, book)
    silence = Silence(context, book)
    simulated = SimulatedCheckers(book, hosts, agents, reports)
    return Health(book, reports, judge, deadlines, (judge, deadlines, silence, simulated))
