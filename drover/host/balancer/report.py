"""Tells the server when a configuration is refused, so that it is seen where the rules were written.

A problem is told once it has lasted a moment, and repeated now and then, because a change of the service takes the text
away; that all is well is told once. Whether the server hears it makes no difference to the balancer's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.events import BALANCER_REPORT, new_id
from drover.common.backoff import Backoff

log = structlog.get_logger(__name__)

Send = Callable[[str], Awaitable[None]]


class Reporter:
    """``settle`` and ``repeat`` are seconds; ``send`` raises ClientError when the server did not take it."""

    def __init__(self, send: Send, *, settle: float = 3.0, repeat: float = 60.0) -> None:
        self._send = send
        self._settle = settle
        self._repeat = repeat
        self._problem = ""
        self._told: str | None = None
        self._changed = asyncio.Event()
        self._backoff = Backoff(initial=min(1.0, repeat), maximum=repeat)

    def outcome(self, problem: str) -> None:
        """What an attempt to apply a configuration led to; empty: it is in force."""
        if problem != self._problem or self._told is None:
            self._problem = problem
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._repeat if self._problem else None):
                    await self._changed.wait()
            await asyncio.sleep(self._settle)
            self._changed.clear()
            problem = self._problem
            if not problem and self._told == "":
                continue
            try:
                await self._send(problem)
            except ClientError as error:
                log.warning("balancer.not_reported", reason=str(error))
                await asyncio.sleep(self._backoff.next_delay())
                self._changed.set()
            else:
                self._backoff.reset()
                self._told = problem


def to_server(client: ApiClient) -> Send:
    """Reports by the key of this container's agent."""

    async def send(problem: str) -> None:
        body = {"name": BALANCER_REPORT, "id": new_id(), "transitioningMessage": problem}
        await client.transport.request("POST", f"{client.address.api}/publish", body=body)

    return send
