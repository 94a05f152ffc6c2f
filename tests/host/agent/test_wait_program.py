"""The wait program reaches the engine's volume, wherever the agent runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.host.agent.errors import AgentError
from drover.host.agent.wait_program import WaitProgram
from tests.host.agent.conftest import IMAGE

pytestmark = [pytest.mark.anyio, pytest.mark.docker]


async def content(engine, docker_engine) -> str:
    return docker_engine.docker("run", "--rm", "--volume", "rancher-cni:/.r:ro", IMAGE, "/.r/r")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "r"
    path.write_text("#!/bin/sh\necho first\n")
    return path


async def test_it_is_installed_and_replaced(engine, docker_engine, program: Path):
    await WaitProgram(engine, program).ensure()
    assert await content(engine, docker_engine) == "first"
    program.write_text("#!/bin/sh\necho second\n")
    await WaitProgram(engine, program).ensure()
    assert await content(engine, docker_engine) == "second"
    assert await engine.list_containers() == []


async def test_a_volume_that_was_removed_comes_back(engine, docker_engine, program: Path):
    wait = WaitProgram(engine, program)
    await wait.ensure()
    docker_engine.docker("volume", "rm", "rancher-cni")
    await wait.reinstall()
    assert await content(engine, docker_engine) == "first"


async def test_a_missing_program_says_what_to_do(engine, tmp_path: Path):
    with pytest.raises(AgentError, match="scripts/build-wait"):
        await WaitProgram(engine, tmp_path / "nowhere").ensure()
