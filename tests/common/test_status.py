"""A program's own report over HTTP."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from drover.common.errors import SettingsError
from drover.common.status import StatusServer

pytestmark = pytest.mark.anyio


async def test_report_figures_and_life() -> None:
    report = {"healthy": True, "peers": 3}
    registry = CollectorRegistry()
    Counter("attached", "Containers attached.", registry=registry).inc(2)
    async with (
        StatusServer("127.0.0.1:0", lambda: report, registry=registry) as status,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{status.port}"
        async with http.get(f"{url}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with http.get(f"{url}/status") as answer:
            assert await answer.json() == report
        async with http.get(f"{url}/metrics") as answer:
            assert "attached_total 2.0" in await answer.text()
        report["healthy"] = False
        async with http.get(f"{url}/healthz") as answer:
            assert answer.status == 503


async def test_a_bad_address_and_a_taken_one_are_explained() -> None:
    with pytest.raises(SettingsError, match="HOST:PORT"):
        await StatusServer("nine", dict).__aenter__()
    async with StatusServer("127.0.0.1:0", dict) as first:
        with pytest.raises(SettingsError, match="choose another port"):
            await StatusServer(f"127.0.0.1:{first.port}", dict).__aenter__()


async def test_nothing_is_served_without_an_address() -> None:
    async with StatusServer("", dict) as status:
        assert status.port is None
