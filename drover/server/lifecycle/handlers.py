"""Which function does the work of which process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from drover.server.lifecycle.outcome import Outcome

if TYPE_CHECKING:
    from drover.server.lifecycle.run import Run

Handler = Callable[["Run"], Awaitable[Outcome | None]]


class Handlers:
    """A table of handlers, filled by the rooms that know what has to happen.

    A process without a handler only changes the state.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def register(self, process: str, handler: Handler) -> None:
        if process in self._handlers:
            raise ValueError(f"{process} has a handler already")
        self._handlers[process] = handler

    def handles(self, *processes: str) -> Callable[[Handler], Handler]:
        """Decorator form of :meth:`register`, for one or more processes."""

        def decorate(handler: Handler) -> Handler:
            for process in processes:
                self.register(process, handler)
            return handler

        return decorate

    def find(self, process: str) -> Handler | None:
        return self._handlers.get(process)
