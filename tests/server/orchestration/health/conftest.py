"""Checked containers on simulated hosts, and checkers whose reports the tests write themselves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from drover.common.clock import now_ms
from drover.server.orchestration.health.reports import Report
from drover.server.store import Record
from tests.server.orchestration.conftest import Platform

CHECK = {"port": 80, "interval": 2000, "strategy": "recreate"}


@dataclass
class Ward:
    """Containers, hosts and what their checkers say."""

    platform: Platform

    async def container(self, name: str = "web-simUnhealthy", **values: Any) -> Record:
        """A running container that simulated checkers are silent about, with its checkers assigned."""
        values.setdefault("healthCheck", CHECK)
        record = await self.platform.start(name=name, **values)
        await self.platform.eventually(lambda: self.votes(record))
        return await self.platform.reload(record)

    def votes(self, record: Record) -> dict[int, str]:
        """What each checking host says, by host id."""
        found = self.platform.hosting.health.book.states(record.id)
        return {each["hostId"]: each["healthState"] for each in found}

    async def checker(self, host: Record) -> Record:
        """A container with an agent of its own on a host; returns the container."""
        changes = self.platform.store.changes()
        agent = changes.insert(
            "agent", {"uuid": str(uuid.uuid4()), "kind": "agent", "state": "active", "uri": "event:///instanceId=0"}
        )
        container = changes.insert(
            "instance",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "container",
                "state": "running",
                "accountId": host.account_id,
                "hostId": host.id,
                "agentId": agent.id,
                "created": now_ms(),
            },
        )
        await self.platform.store.commit(changes)
        return container

    async def report(
        self, checker: Record, target: Record, health: str, *, start: int | None = None, at: int = 1000, host: str = ""
    ) -> Record:
        """Post a report as the checker would; `host` is the host's uuid if it is not the checker's own."""
        own = await self.platform.store.get("host", int(checker["hostId"]))
        assert own is not None
        count = int((await self.platform.reload(target))["startCount"]) if start is None else start
        text = f"{host or own.uuid}_{target.uuid}_{count}"
        return await self.platform.hosting.health.reports.take(checker["agentId"], Report(text, health, at))

    async def until_health(self, record: Record, health: str | None) -> Record:
        found = await self.platform.context.watch.until(
            "instance", record.id, lambda row: row is not None and row["healthState"] == health, timeout=10
        )
        assert found is not None
        return found


@pytest.fixture
def ward(platform: Platform) -> Ward:
    return Ward(platform)
