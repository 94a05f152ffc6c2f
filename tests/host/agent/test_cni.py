"""Addresses that the network manager leaves behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from drover.host.agent.cni import ManagedNetwork
from drover.host.agent.errors import AgentError
from drover.host.agent.images import no_progress

pytestmark = pytest.mark.anyio

INSPECT = {"Id": "c1", "State": {"Pid": os.getpid(), "StartedAt": "2026-01-01T00:00:00.5Z"}}


def leave(folder: Path, text: str) -> None:
    target = folder / "c1" / INSPECT["State"]["StartedAt"]  # type: ignore[index]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


async def test_reads_the_address_without_its_prefix(tmp_path: Path):
    leave(tmp_path, '{"ip4":{"ip":"10.42.1.7/16"},"dns":{}}')
    assert await ManagedNetwork(tmp_path, wait=5).address(INSPECT) == "10.42.1.7"


async def test_waits_for_the_file(tmp_path: Path):
    waiting = asyncio.create_task(ManagedNetwork(tmp_path, wait=5).address(INSPECT))
    await asyncio.sleep(0)
    leave(tmp_path, '{"ip4":{"ip":"10.42.1.8/16"}}')
    assert await waiting == "10.42.1.8"


async def test_passes_on_the_managers_error(tmp_path: Path):
    leave(tmp_path, '{"error":"no free address in 10.42.0.0/16"}')
    with pytest.raises(AgentError, match=r"^no free address in 10\.42\.0\.0/16$"):
        await ManagedNetwork(tmp_path, wait=5).address(INSPECT)


async def test_says_who_kept_it_waiting(tmp_path: Path):
    with pytest.raises(AgentError, match="Timeout getting IP address"):
        await ManagedNetwork(tmp_path, wait=0).address(INSPECT)


async def test_a_container_that_is_gone_has_no_address(tmp_path: Path):
    network = ManagedNetwork(tmp_path, wait=5)
    assert await network.address({"Id": "c1", "State": {"Pid": 0}}) == ""
    assert await network.address({"Id": "c1", "State": {"Pid": 2**22 + 1, "StartedAt": "x"}}) == ""


async def test_waits_for_the_manager_and_says_so(tmp_path: Path):
    told: list[str] = []

    async def progress(text: str, percent: int | None) -> None:
        told.append(text)
        (tmp_path / "cni").mkdir()

    network = ManagedNetwork(tmp_path / "cni", wait=5)
    await network.require_manager("ipsec", progress)
    assert told == ["Waiting for the network manager of network ipsec"]
    await network.require_manager("ipsec", no_progress)
