"""The server is killed again and again while it creates containers: each one ends up running, exactly once.

The hosts are simulated, so that a round takes seconds and what a host holds is known without a doubt: the hosts'
own list, which they report in every ping, is the other side of the comparison.
"""

import asyncio
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from drover.client.api import ApiClient
from drover.client.resource import Resource
from drover.simulator import SimulatorSettings
from drover.simulator.program import SimulatedHost, run_simulator
from tests.e2e.command import DROVER
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HOSTS = 10
CONTAINERS = 200
ROUNDS = int(os.environ.get("DROVER_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("DROVER_CRASH_SEED", "0")) or random.randrange(1, 2**31)


class Server:
    """A server process on a database that outlives it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        return self._folder / "server.log"

    async def start(self) -> None:
        """Return when the API answers."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                DROVER, "server", "--auth=none", f"--data-dir={self._folder / 'data'}",
                f"--listen=127.0.0.1:{self._port}", stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                try:
                    async with session.get(f"{self.url}/v2-beta") as response:
                        if response.status == 200:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                assert self._process.returncode is None, f"the server ended: {self.last_words()}"
                assert time.monotonic() < deadline, f"the server does not answer: {self.last_words()}"
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


@asynccontextmanager
async def simulated_hosts(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[SimulatedHost]]:
    """Ten hosts in this process; the list is that of the running hosts, whose containers can be looked into."""
    running: list[SimulatedHost] = []
    run = SimulatedHost.run

    async def noted(host: SimulatedHost, gate: asyncio.Semaphore) -> None:
        running.append(host)
        await run(host, gate)

    monkeypatch.setattr(SimulatedHost, "run", noted)
    settings = SimulatorSettings(url=url, hosts=HOSTS, latency=5, jitter=20)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_simulator(settings), name="simulated hosts")
        yield running
        task.cancel()


async def test_every_container_runs_once_however_often_the_server_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {SEED}, {ROUNDS} rounds")
    chance = random.Random(SEED)
    server = Server(tmp_path)
    await server.start()
    try:
        async with simulated_hosts(server.url, monkeypatch) as hosts, ApiClient(server.url) as api:
            await eventually(lambda: active_hosts(api), lambda found: len(found) == HOSTS, what="all hosts are active")
            for number in range(ROUNDS):
                await one_round(server, api, hosts, chance, number)
    except BaseException:
        print(server.last_words())
        raise
    finally:
        await server.kill()


async def one_round(
    server: Server, api: ApiClient, hosts: list[SimulatedHost], chance: random.Random, number: int
) -> None:
    """Ask for 200 containers, kill the server at some moment, start it again, and count."""
    stack = await api.create("stack", {"name": f"round{number}"})
    body = {
        "name": "crowd",
        "stackId": stack.id,
        "scale": CONTAINERS,
        "startOnCreate": True,
        "launchConfig": {"imageUuid": "docker:library/none", "networkMode": "managed"},
    }
    service = await api.create("service", body)
    moment = chance.uniform(0.0, 1.5)
    await asyncio.sleep(moment)
    await server.kill()
    began = time.monotonic()
    await server.start()
    service = await eventually(
        lambda: api.refresh(service),
        lambda found: found.state == "active" and found.get("currentScale") == CONTAINERS,
        what=f"round {number} (killed after {moment:.3f} s): the service is complete",
        timeout=120,
    )
    took = time.monotonic() - began
    containers = await api.list("container", {"stackId": stack.id, "removed_null": 1})
    assert_each_once(containers, hosts)
    print(f"round {number}: killed after {moment:.3f} s, complete {took:.2f} s after the death")
    await api.delete(stack)
    await eventually(
        lambda: leftovers(hosts), lambda left: not left, what=f"round {number}: the hosts are empty again", timeout=120
    )


def assert_each_once(containers: list[Resource], hosts: list[SimulatedHost]) -> None:
    """What the server shows is what the hosts hold, one for one."""
    assert {each.state for each in containers} == {"running"}
    assert sorted(int(each.name.rpartition("-")[2]) for each in containers) == list(range(1, CONTAINERS + 1))
    held = Counter(uuid for host in hosts for uuid in host.containers)
    assert held == Counter(each.text("uuid") for each in containers)
    for field in ("externalId", "primaryIpAddress"):
        values = Counter(each.text(field) for each in containers)
        assert "" not in values, f"{values['']} containers have no {field}"
        assert max(values.values()) == 1, f"{field} given twice: {values.most_common(3)}"


async def active_hosts(api: ApiClient) -> list[Resource]:
    return [host for host in await api.list("host") if host.state == "active"]


async def leftovers(hosts: list[SimulatedHost]) -> list[str]:
    return [uuid for host in hosts for uuid in host.containers]
