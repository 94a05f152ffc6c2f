"""Why a process cannot be scheduled. The API answers these with 409."""

from __future__ import annotations


class ProcessConflict(Exception):
    """The resource's state does not allow the process."""

    def __init__(self, process: str, resource_type: str, resource_id: int, state: str, message: str) -> None:
        super().__init__(message)
        self.process = process
        self.resource_type = resource_type
        self.resource_id = resource_id
        self.state = state


class NotAllowed(ProcessConflict):
    """The process does not start from the resource's present state."""


class AlreadyRunning(ProcessConflict):
    """The same process is under way."""
