"""From a container that starts to its name: server, metadata program and DNS program, as a host runs them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drover.server.app import ServerSettings, serving
from tests.host.dns.asking import addresses, code
from tests.host.dns.test_server import Client
from tests.host.scheduler.test_program import Steps

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

_WAIT = 60.0
METADATA = "io.rancher.container.agent_service.metadata"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def program(*arguments: str, log: Path, **environment: str) -> AsyncIterator[None]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "drover", *arguments, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield
        assert process.returncode is None, log.read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_a_started_container_has_a_name_and_a_removed_one_has_none(tmp_path: Path) -> None:
    metadata_port, dns_port = free_port(), free_port()
    async with serving(ServerSettings(data_dir=tmp_path / "data", listen="127.0.0.1:0", auth="none")) as server:
        steps = Steps(server.assembly)
        host = await steps.host("sim-1")
        provider = await steps.container(labels={METADATA: "true"}, system=True, requestedHostId=host.id)
        access, secret = await steps.keys(provider)
        keys = {"CATTLE_URL": f"{server.url}/v1", "CATTLE_ACCESS_KEY": access, "CATTLE_SECRET_KEY": secret}
        async with (
            program("metadata", "--listen", f"127.0.0.1:{metadata_port}", log=tmp_path / "metadata.log", **keys),
            program(
                "dns", "--listen", f"127.0.0.1:{dns_port}", "--metadata-server", f"127.0.0.1:{metadata_port}",
                "--answers", str(tmp_path / "answers.json"), log=tmp_path / "dns.log",
            ),
        ):  # fmt: skip
            container = await steps.container(name="hello", requestedHostId=host.id, networkMode="managed")
            client = Client(dns_port)
            assert await _until(client, "hello.rancher.internal") == [container["primaryIpAddress"]]
            await steps.remove(container)
            assert await _until(client, "hello.rancher.internal", there=False) == []
            assert (tmp_path / "answers.json").exists()


async def _until(client: Client, name: str, *, there: bool = True) -> list[str]:
    async with asyncio.timeout(_WAIT):
        while True:
            try:
                reply = await client.ask(name)
            except (ConnectionRefusedError, TimeoutError):
                await asyncio.sleep(0.05)
                continue
            if (code(reply) == "NOERROR") is there:
                return addresses(reply)
            await asyncio.sleep(0.05)
