"""How a handler's run ends. A handler that returns nothing is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.server.store import Changes


@dataclass(frozen=True, slots=True)
class Done:
    """The process has reached its end: ``values`` are stored with the final state, ``changes`` in the same commit."""

    values: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes | None = None


@dataclass(frozen=True, slots=True)
class Delegate:
    """The declared delegate takes over at once, in the same record: *creating* becomes *starting*, not *stopped*."""

    values: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """Finish, and schedule another process of the same resource in the same commit.

    ``data`` is added to the process data that the successor inherits. An error text in ``values``
    (``transitioning``, ``transitioningMessage``) survives the hand-over.
    """

    process: str
    values: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    changes: Changes | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Not yet: run the handler again after ``seconds``, showing ``message`` meanwhile."""

    seconds: float
    message: str | None = None


Outcome = Done | Delegate | Chain | Again
