"""The metadata address on an interface of our own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from drover.host.metadata.address import AddressError, add_address

pytestmark = pytest.mark.anyio

_TWICE = """
import asyncio
from drover.host.metadata.address import add_address
asyncio.run(add_address("169.254.169.250", "eth0"))
asyncio.run(add_address("169.254.169.250", "eth0"))
"""


@pytest.mark.docker
async def test_it_is_added_once_to_a_network_of_its_own() -> None:
    """In a network namespace that exists for this process alone; needs root, as the real thing needs NET_ADMIN."""
    steps = f'ip link add eth0 type bridge && "{sys.executable}" - && ip -json address show dev eth0'
    process = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", steps,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await process.communicate(_TWICE.encode())
    [link] = msgspec.json.decode(output)
    assert [(each["local"], each["prefixlen"]) for each in link["addr_info"]] == [("169.254.169.250", 32)]


async def test_what_is_missing_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="RANCHER_METADATA_ADDRESS"):
        await add_address("somewhere", "eth0")
    refusing = tmp_path / "ip"
    refusing.write_text("#!/bin/sh\necho 'Cannot find device' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AddressError, match=r"Cannot find device.* NET_ADMIN"):
        await add_address("169.254.169.250", "drvt-none0")


async def test_without_the_program_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AddressError, match="iproute2"):
        await add_address("169.254.169.250", "eth0")
