"""Processes are found by tag and named by pid and start time."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from lab import processes
from lab.processes import ProcessRecord, spawn

pytestmark = pytest.mark.anyio


@pytest.fixture
def sleeper(tmp_path: Path) -> ProcessRecord:
    return spawn(["sleep", "60"], role="sleeper", tag=str(tmp_path), log=tmp_path / "log", environment=os.environ)


async def test_a_process_is_found_by_its_tag_and_ended(sleeper: ProcessRecord, tmp_path: Path) -> None:
    assert sleeper.alive()
    assert processes.with_tag(str(tmp_path)) == {sleeper.pid}
    assert await processes.end([sleeper.pid]) == set()
    assert not sleeper.alive()
    assert processes.with_tag(str(tmp_path)) == set()


async def test_a_process_that_ignores_the_signal_is_reported(tmp_path: Path) -> None:
    stubborn = spawn(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"],
        role="stubborn",
        tag=str(tmp_path),
        log=tmp_path / "log",
        environment=os.environ,
    )
    with anyio.fail_after(5):
        while not (tmp_path / "log").read_text():
            await anyio.sleep(0)
    assert await processes.end([stubborn.pid], with_signal=signal.SIGTERM, timeout=0.05) == {stubborn.pid}
    assert await processes.end(processes.with_tag(str(tmp_path))) == set()


def test_the_same_pid_with_another_start_time_is_another_process() -> None:
    me = processes.start_time(os.getpid())
    assert me is not None
    assert ProcessRecord(role="me", pid=os.getpid(), started=me).alive()
    assert not ProcessRecord(role="me", pid=os.getpid(), started=me - 1).alive()


def test_no_process_has_no_start_time() -> None:
    assert processes.start_time(2**22 + 1) is None


async def test_a_daemon_has_its_own_session_and_its_output_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    echo = spawn(["sh", "-c", "echo out; echo err >&2"], role="echo", tag="none", log=log, environment=os.environ)
    await processes.end([echo.pid], with_signal=signal.SIGCONT)
    assert log.read_text() == "out\nerr\n"


def test_the_searching_process_is_never_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path("/proc/self/cgroup").read_text().splitlines()[0].split(":", 2)[2].strip("/")
    assert os.getpid() not in processes.in_cgroup(own)
