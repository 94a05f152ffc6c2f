"""A program ends when it is told to, or when its work fails."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from drover.common.lifetime import run_until, run_until_stopped

pytestmark = pytest.mark.anyio


async def _forever(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def _failing() -> None:
    await asyncio.sleep(0)
    raise ValueError("broken")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_everything(number: signal.Signals) -> None:
    ended: list[str] = []
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    async with asyncio.timeout(60):
        await run_until_stopped(_forever(ended), _forever(ended))
    assert ended == ["cancelled", "cancelled"]


async def test_a_failure_ends_the_others_and_is_told() -> None:
    ended: list[str] = []
    with pytest.raises(ValueError, match="broken"):
        await run_until(asyncio.Event(), _forever(ended), _failing())
    assert ended == ["cancelled"]


async def test_a_program_without_work_waits_for_its_end() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(60):
        await run_until(stop)
