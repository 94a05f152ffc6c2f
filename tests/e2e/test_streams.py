"""Shells, logs and statistics for a client that reaches the server and nothing else."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drover.client.resource import Resource
from drover.client.urls import websocket_url, with_query
from lab.command import in_namespace, run
from tests.e2e.cluster import Cluster
from tests.e2e.command import Command

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


@pytest.fixture
async def outsider(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Command]:
    """`drover` on a machine that has a cable to the server and a route to nobody else."""
    name = f"drover-{cluster.lab.name}-client"
    await run("ip", "netns", "add", name)
    try:
        await run("ip", "link", "add", "drl-client", "type", "veth", "peer", "name", "eth0", "netns", name)
        await run("ip", "address", "add", "10.214.77.1/30", "dev", "drl-client")
        await run("ip", "link", "set", "drl-client", "up")
        inside = ("ip", "-netns", name)
        await run(*inside, "address", "add", "10.214.77.2/30", "dev", "eth0")
        await run(*inside, "link", "set", "eth0", "up")
        await run(*inside, "link", "set", "lo", "up")
        await run(*inside, "route", "add", f"{cluster.lab.gateway}/32", "via", "10.214.77.1")
        yield Command(cluster.lab.server_url, tmp_path, prefix=in_namespace(name))
    finally:
        await run("ip", "netns", "delete", name)


async def test_a_shell_through_the_server(cluster: Cluster, outsider: Command) -> None:
    await cluster.up("talk", {"web": cluster.web()})
    (container,) = await cluster.until_running("talk/web", 1)

    quiet = await outsider("exec", "talk-web-1", "--", "sh", "-c", "echo out; echo err >&2; exit 42", status=42)
    assert (quiet.out, quiet.err) == ("out\n", "err\n")

    with_terminal = await outsider("exec", "-t", "talk/web", "sh", "-c", "test -t 1 && echo terminal; exit 7", status=7)
    assert "terminal" in with_terminal.out

    piped = b"".join(b"%d\n" % number for number in range(50_000))
    back = await outsider("exec", "-i", "talk-web-1", "cat", stdin=piped)
    assert back.out.encode() == piped

    where = await outsider("exec", "talk-web-1", "hostname")
    assert where.out.strip() == container.details["Config"]["Hostname"]
    missing = await outsider("exec", "talk-web-1", "no-such-program", status=None)
    assert missing.status in (126, 127)
    assert "no-such-program" in missing.out + missing.err


async def test_logs_are_followed_through_the_server(cluster: Cluster, outsider: Command) -> None:
    script = "n=0; while :; do n=$$((n+1)); echo line $$n; sleep 0.2; done"
    await cluster.up("chatty", {"job": cluster.shell(script)}, {"job": 2})
    await cluster.until_running("chatty/job", 2)
    past = await outsider("logs", "--tail", "1", "chatty-job-1")
    assert len(past.out.splitlines()) == 1
    follower = await outsider.start("logs", "-f", "--tail", "1", "chatty/job")
    try:
        assert follower.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(60):
            while len(lines) < 20:
                lines.append((await follower.stdout.readline()).decode())
    finally:
        follower.kill()
        await follower.wait()
    for name in ("chatty-job-1", "chatty-job-2"):
        numbers = [int(line.split()[-1]) for line in lines if line.startswith(name)]
        assert len(numbers) > 3
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "no line lost, none twice"


async def test_statistics_come_through_the_server(cluster: Cluster, outsider: Command) -> None:
    await cluster.up("busy", {"job": cluster.shell("while :; do :; done", mem_limit=64 * 1024**2)})
    await cluster.until_running("busy/job", 1)
    try:
        host = (await samples(cluster, outsider, await cluster.host_row("host1"), "hostStats"))[-1][0]
        assert host["cpu"]["usage"]["total"] > 0
        assert host["memory"]["usage"] > 0

        first, second = await samples(cluster, outsider, await cluster.container("busy-job-1"), "containerStats", 2)
        used = second[0]["cpu"]["usage"]["total"] - first[0]["cpu"]["usage"]["total"]
        assert used > 10**8, f"a busy loop used {used} ns between two samples"

        service = (await samples(cluster, outsider, await cluster.service("busy/job"), "containerStats"))[-1]
        assert [each["id"] for each in service] == [(await cluster.container("busy-job-1")).text("externalId")]
    finally:
        await cluster.drover("rm", "-y", "-w", "busy/job")


_LISTEN = """
import asyncio, sys, aiohttp

async def main(address, number):
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        for _ in range(number):
            print((await socket.receive_str(timeout=60)).strip())

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def samples(
    cluster: Cluster, outsider: Command, resource: Resource, link: str, number: int = 1
) -> list[list[dict[str, Any]]]:
    """The first samples behind a statistics link, as the outsider gets them from the server's own address."""
    access = await cluster.api.follow(resource, link)
    assert isinstance(access, Resource)
    address = with_query(websocket_url(access.text("url")), [("token", access.text("token"))])
    assert cluster.lab.gateway in address
    said = await run(*outsider.prefix, sys.executable, "-c", _LISTEN, address, str(number), timeout=120)
    return [json.loads(line) for line in said.splitlines()]
