"""What a balancing program must be able to do to carry out a model."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from drover.common.errors import DroverError
from drover.host.balancer.certificates import Bundle
from drover.host.balancer.model import Model


class Rejected(DroverError):
    """The program does not accept the configuration; it goes on with the last good one."""


class Applied(StrEnum):
    """How much a change took."""

    NOTHING = "nothing"
    RUNTIME = "runtime"
    RELOAD = "reload"


class Provider(Protocol):
    """A balancing program under supervision. Calls of ``apply`` do not overlap."""

    async def run(self) -> None:
        """Start the program, or take over one that runs, and keep it running until cancelled."""

    async def ready(self) -> None:
        """Return as soon as the program accepts a configuration."""

    async def apply(self, model: Model, bundle: Bundle) -> Applied:
        """Make the program do what the model says. Raises Rejected, and then nothing has changed."""

    async def sessions(self, address: str) -> int:
        """How many sessions (requests) are open with the servers at an address."""

    async def stop(self, grace: float) -> None:
        """End the program: nothing new, and up to ``grace`` seconds for what is under way."""

    def status(self) -> Mapping[str, object]: ...
