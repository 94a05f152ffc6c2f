from __future__ import annotations

import aiohttp
import pytest

from drover.server.store import Record
from tests.server.api.channels.conftest import Wire

pytestmark = pytest.mark.anyio


def offer_key(wire: Wire, agent_id: int) -> str:
    """Register an item that agent ``agent_id`` alone may have; its address."""

    async def produce(agent: Record) -> bytes | None:
        return b"the key" if agent.id == agent_id else None

    wire.assembly.config_items.register("test-key", produce)
    return f"{wire.url}/v1/configcontent/test-key"


async def fetch(method: str, url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as response:
        return response.status, await response.read()


async def test_an_agent_downloads_what_is_made_for_it(wire: Wire) -> None:
    agent, other = await wire.register(1), await wire.register(2)
    url = offer_key(wire, agent.id)
    assert await fetch("GET", url, agent.headers) == (200, b"the key")
    assert await fetch("PUT", f"{url}?version=latest", agent.headers) == (200, b"")
    assert (await fetch("GET", url, other.headers))[0] == 404
    assert (await fetch("PUT", f"{url}?version=latest", other.headers))[0] == 404
    assert (await fetch("GET", f"{wire.url}/v1/configcontent/unknown", agent.headers))[0] == 404


async def test_an_agent_cannot_ask_in_the_name_of_another(wire: Wire) -> None:
    agent, other = await wire.register(1), await wire.register(2)
    url = offer_key(wire, agent.id)
    assert (await fetch("GET", f"{url}?agentId={agent.id}", other.headers))[0] == 404


async def test_administrators_name_the_agent(wire: Wire) -> None:
    agent = await wire.register()
    url = offer_key(wire, agent.id)
    assert await fetch("GET", f"{url}?agentId={agent.id}") == (200, b"the key")
    assert (await fetch("GET", url))[0] == 404


async def test_nobody_else_gets_in(wire: Wire) -> None:
    agent = await wire.register()
    url = offer_key(wire, agent.id)
    assert (await fetch("GET", f"{url}?agentId={agent.id}", await wire.project_key()))[0] == 403
    assert (await fetch("GET", url, {"X-ENFORCE-AUTHENTICATION": "true"}))[0] == 401


async def test_a_name_is_given_once(wire: Wire) -> None:
    offer_key(wire, 1)
    with pytest.raises(ValueError, match="test-key"):
        offer_key(wire, 1)
