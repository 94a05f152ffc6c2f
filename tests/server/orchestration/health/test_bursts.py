"""Many verdicts at once share transactions, and a quiet book costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drover.server.orchestration.health.reports import Report
from tests.server.orchestration.conftest import FAST, Platform, running
from tests.server.orchestration.health.conftest import CHECK, Ward

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONTAINERS = 200


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Pinged so seldom that pings write nothing meanwhile."""
    async with running(tmp_path, {**FAST, "CATTLE_TASK_AGENT_PING_SCHEDULE": "60s"}) as platform:
        yield platform


async def test_a_burst_of_verdicts_shares_statements(platform: Platform, ward: Ward) -> None:
    host = await platform.create_host()
    checker = await ward.checker(host)
    made = [await platform.plan(name=f"web-{number}-simUnhealthy", healthCheck=CHECK) for number in range(CONTAINERS)]
    await platform.eventually(lambda: all(ward.votes(record) for record in made))
    reports = platform.hosting.health.reports
    book = platform.hosting.health.book
    await reports.take(checker["agentId"], Report(f"{host.uuid}_{made[0].uuid}_1", "UP", 1))
    await ward.until_health(made[0], "healthy")
    before = platform.store.database.statements

    await asyncio.gather(
        *(reports.take(checker["agentId"], Report(f"{host.uuid}_{each.uuid}_1", "UP", 1)) for each in made)
    )
    await platform.eventually(
        lambda: all((target := book.get(each.id)) is not None and target.health == "healthy" for each in made)
    )

    # Storing the votes, scheduling the processes, running and closing them: all of it in groups.
    assert (platform.store.database.statements - before) / CONTAINERS < 1.0
