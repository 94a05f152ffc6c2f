"""What HAProxy logs comes out of the container."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path

import pytest

from drover.host.balancer.model import Server
from drover.host.balancer.traffic_log import TrafficLog, receiving
from tests.host.balancer.proxies import HAVE_HAPROXY, NOTHING, free_port, get, haproxy, simple, sites

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("datagram", "output", "errors"),
    [
        (b"<134>Nov 21 12:00:00 haproxy[7]: 10.0.0.9 GET /\n", "Nov 21 12:00:00 haproxy[7]: 10.0.0.9 GET /\n", ""),
        (b"<131>down", "", "down\n"),
        (b"plain", "plain\n", ""),
        (b"<134>GET /\x1b[2J\nforged \xff", "GET /?[2J?forged \ufffd\n", ""),
    ],
)
def test_lines(datagram: bytes, output: str, errors: str) -> None:
    out, err = StringIO(), StringIO()
    TrafficLog(out, err).datagram_received(datagram, ("127.0.0.1", 1))
    assert (out.getvalue(), err.getvalue()) == (output, errors)


async def test_an_address_in_use_is_no_reason_to_stop() -> None:
    async with receiving(("127.0.0.1", 0)) as port:
        assert port
        async with receiving(("127.0.0.1", port)) as second:
            assert second is None


@pytest.mark.slow
@pytest.mark.skipif(not HAVE_HAPROXY, reason="needs HAProxy")
async def test_haproxys_own_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, target = free_port(), free_port()
    async with receiving(("127.0.0.1", 0)) as log, haproxy(tmp_path) as proxy, sites(1, port=target) as farm:
        custom = f"frontend {port}\n log 127.0.0.1:{log} local0 debug\n option httplog"
        await proxy.apply(simple(port, [Server(farm[0].address, target)], custom=custom), NOTHING)
        assert (await get(port, "/seen"))[0] == 200
        async with asyncio.timeout(60):
            shown = ""
            while "GET /seen" not in shown:
                await asyncio.sleep(0.01)
                shown += capsys.readouterr().out
