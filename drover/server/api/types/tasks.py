"""Timer tasks of the server, run when an administrator asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from drover.server.api.call import Call
from drover.server.api.errors import ApiError, not_found
from drover.server.api.extensions import Extensions
from drover.server.store import Record

_SECONDS = 60.0


def register(extensions: Extensions, execute: Callable[[str], Awaitable[None]]) -> None:
    """``execute(name)`` runs a task of this server and keeps the run as a ``taskInstance``."""

    async def run(_call: Call, record: Record, _given: dict[str, Any]) -> Record:
        try:
            async with asyncio.timeout(_SECONDS):
                await execute(str(record.name))
        except KeyError:
            raise not_found(f"This server has no task {record.name}") from None
        except TimeoutError:
            message = f"The task has not ended within {_SECONDS:g} s and was stopped; it runs again at its next time"
            raise ApiError(503, None, message) from None
        return record

    extensions.action("execute", "task")(run)
