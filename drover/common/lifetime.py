"""How a long-running program lives: until it is told to stop, or until a part of its work fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets. Outside the main thread the signals are somebody else's."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    installed: list[signal.Signals] = []
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(RuntimeError, ValueError):
                loop.add_signal_handler(number, stop.set)
                installed.append(number)
        yield stop
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


async def run_until(stop: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Run the works side by side until ``stop`` is set or one of them ends; then cancel the others.

    Raises the error of the one that failed.
    """
    tasks = [asyncio.create_task(work) for work in works]
    stopping = asyncio.create_task(stop.wait(), name="stopping")
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)


async def run_until_stopped(*works: Coroutine[Any, Any, None]) -> None:
    """:func:`run_until` SIGTERM or SIGINT."""
    async with stop_signals() as stop:
        await run_until(stop, *works)
