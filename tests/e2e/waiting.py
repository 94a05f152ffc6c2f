"""Waiting for something to become true, and saying what was seen instead when it does not.

Time-outs are generous, because they cost nothing where all is well and a busy machine is no fault: how long something
takes is printed, and measured by the benches.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.1


async def eventually(
    look: Callable[[], Awaitable[T]], wanted: Callable[[T], object], *, what: str, timeout: float = 60.0
) -> T:
    """Look until `wanted` holds for what is seen, and return it; fails with the last thing seen."""
    deadline = time.monotonic() + timeout
    while True:
        seen = await look()
        if wanted(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; last seen:\n{_shown(seen)}")
        await asyncio.sleep(_PAUSE)


async def stays(look: Callable[[], Awaitable[T]], wanted: Callable[[T], object], *, what: str, seconds: float) -> None:
    """Look for a while and fail as soon as `wanted` does not hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = await look()
        if not wanted(seen):
            raise AssertionError(f"did not stay true: {what}; seen:\n{_shown(seen)}")
        await asyncio.sleep(_PAUSE)


def _shown(seen: object) -> str:
    if isinstance(seen, list | tuple | set):
        return "\n".join(f"  {each}" for each in seen)
    return f"  {seen}"
