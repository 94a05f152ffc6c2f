"""Processes that outlive the one that started them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from drover.host.balancer.process import Daemon, ProgramMissing, check_output

pytestmark = pytest.mark.anyio


async def test_a_stubborn_process_is_killed() -> None:
    daemon = Daemon.start(("sh", "-c", "trap '' USR1 TERM; while :; do sleep 0.05; done"))
    await asyncio.sleep(0.1)
    await daemon.stop(signal.SIGUSR1, 0.1)
    assert not daemon.alive


@pytest.mark.parametrize("refused", [False, True])
async def test_the_end_is_noticed(refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if refused:
        monkeypatch.setattr(os, "pidfd_open", _refuse)
        monkeypatch.setattr("drover.host.balancer.process._LOOK_SECONDS", 0.01)
    child = Daemon.start(("sleep", "60"))
    adopted = Daemon(child.pid)
    waits = [asyncio.create_task(each.ended()) for each in (child, adopted)]
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in waits)
    child.send(signal.SIGKILL)
    await asyncio.wait_for(asyncio.gather(*waits), 5)


def _refuse(pid: int) -> int:
    raise PermissionError(1, "Operation not permitted")


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProgramMissing, match="no-such-proxy"):
        Daemon.start(("no-such-proxy",))
    with pytest.raises(ProgramMissing, match="no-such-proxy"):
        await check_output(("no-such-proxy",), seconds=1)


async def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await check_output(("sleep", "60"), seconds=0.05)
    assert await check_output(("sh", "-c", "echo no; exit 3"), seconds=5) == (3, "no\n")
