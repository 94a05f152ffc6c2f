"""What the metadata server says about itself."""

from __future__ import annotations

import aiohttp
import pytest

from drover.host.metadata.status import status_server

pytestmark = pytest.mark.anyio


async def test_the_report_and_the_figures() -> None:
    report: dict[str, object] = {"connected": False, "stale_seconds": 12.5, "containers": 3, "rendered": 7}
    async with (
        status_server("127.0.0.1:0", lambda: report) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session,
    ):
        async with session.get("/status") as answer:
            assert await answer.json() == report
        async with session.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert "drover_metadata_connected 0.0" in lines
    assert "drover_metadata_stale_seconds 12.5" in lines
    assert "drover_metadata_rendered_total 7.0" in lines
