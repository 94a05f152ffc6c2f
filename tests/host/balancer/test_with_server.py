"""The balancer's side of the wire against a real server: its keys read certificates and answer requests to drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drover.client.api import ApiClient
from drover.host.balancer.program import ServerCertificates, answer_drains
from drover.host.balancer.settings import BalancerSettings
from drover.server.app import ServerSettings, Serving, serving
from drover.server.bus import Event
from drover.server.orchestration.agents.accounts import plan_instance_agent
from drover.server.orchestration.credentials import unseal

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ENVIRONMENT = 5


@dataclass
class Letting:
    """In place of a balancer: remembers who shall be let go of."""

    asked: list[tuple[str, float]] = field(default_factory=list)

    async def drain(self, address: str, seconds: float) -> bool:
        self.asked.append((address, seconds))
        return True


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Serving]:
    async with serving(ServerSettings(listen="127.0.0.1:0", data_dir=folder, auth="local")) as running:
        yield running


async def keys(running: Serving) -> tuple[int, BalancerSettings]:
    """An agent as a balancer's container has it, and the settings that its environment variables make."""
    context = running.assembly.context
    changes = context.store.changes()
    agent, made = plan_instance_agent(
        changes,
        context.vault,
        uri="event://balancer",
        environment_id=ENVIRONMENT,
        roles=("environmentAdmin", "agent"),
        system=False,
    )
    await context.store.commit(changes)
    by_role = {role: (str(key["publicValue"]), unseal(key, context.vault)) for role, key in made}
    return agent.id, BalancerSettings(
        server_url=f"{running.url}/v2-beta",
        agent_access_key=by_role["agent"][0],
        agent_secret_key=by_role["agent"][1],
        environment_access_key=by_role["environmentAdmin"][0],
        environment_secret_key=by_role["environmentAdmin"][1],
    )


async def test_requests_to_drain_are_answered(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        agent_id, settings = await keys(running)
        balancer = Letting()
        connected = running.assembly.context.bus.subscribe(["agent.connected"])
        task = asyncio.create_task(answer_drains(settings, balancer))
        try:
            await asyncio.wait_for(connected.get_batch(), 10)
            for data in ({"targetIPaddress": "10.42.3.4", "drainTimeout": "30000"}, {}):
                question = Event(
                    name=f"target.drain;agent={agent_id}", resource_type="instance", resource_id="77", data=data
                )
                answer = await running.assembly.context.bus.request(question, timeout=60, asked=f"agent:{agent_id}")
                assert (answer.resource_type, answer.failure) == ("instance", None)
        finally:
            connected.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert balancer.asked == [("10.42.3.4", 30.0)]


async def test_certificates_are_read_with_their_keys(tmp_path: Path, make_certificate: dict[str, str]) -> None:
    async with server(tmp_path) as running:
        _, settings = await keys(running)
        store = running.assembly.context.store
        async with ApiClient(
            settings.server_url or "", settings.environment_access_key, settings.environment_secret_key
        ) as client:
            key, certificate = _parts(make_certificate["one"])
            body: dict[str, Any] = {"name": "main", "key": key, "cert": certificate}
            await client.unscoped().create("certificate", body)
            found = await ServerCertificates(client).fetch("main")
            assert await ServerCertificates(client).fetch("other") is None
        assert found == make_certificate["one"]
        (row,) = await store.find_by("certificate", name="main")
        assert row.account_id == ENVIRONMENT


def _parts(text: str) -> tuple[str, str]:
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return text[:begin], text[begin:]
