"""Rows of an environment with hosts and containers, and the keys of the agents behind them."""

from __future__ import annotations

from typing import Any

import aiohttp

from drover.common.clock import now_ms
from drover.server.orchestration.agents.accounts import plan_instance_agent
from drover.server.orchestration.agents.uris import of_instance
from drover.server.orchestration.credentials import unseal
from drover.server.store import Record
from tests.server.api.channels.conftest import Agent, Wire

ENVIRONMENT = 5
METADATA = {"io.rancher.container.agent_service.metadata": "true"}


async def plant(wire: Wire, type_name: str, **values: Any) -> Record:
    """A row as the orchestration would have made it."""
    store = wire.assembly.context.store
    changes = store.changes()
    row = {"accountId": ENVIRONMENT, "state": "active", "created": now_ms(), "uuid": f"{type_name}-uuid", **values}
    record = changes.insert(type_name, row)
    await store.commit(changes)
    return record


async def change(wire: Wire, record: Record, **values: Any) -> None:
    store = wire.assembly.context.store
    changes = store.changes()
    changes.update(record, values)
    await store.commit(changes)


async def host_of(wire: Wire, agent: Agent, uuid: str = "host-1") -> Record:
    return await plant(
        wire, "host", uuid=uuid, kind="docker", agentId=agent.id, agentIpAddress="172.16.0.5", hostname=uuid
    )


async def container_on(wire: Wire, host: Record, uuid: str = "c-1", **values: Any) -> Record:
    network = await wire.assembly.context.store.first("network", accountId=ENVIRONMENT, kind="managed")
    assert network is not None
    given = {"name": uuid, "state": "starting", "primaryIpAddress": "10.42.0.9", "labels": {}, **values}
    return await plant(
        wire, "instance", uuid=uuid, kind="container", hostId=host.id, primaryNetworkId=network.id, **given
    )


async def agent_of(wire: Wire, container: Record, *, system: bool = True) -> Agent:
    """Give a container an agent; its keys."""
    context = wire.assembly.context
    changes = context.store.changes()
    uri = of_instance(container.id)
    agent, keys = plan_instance_agent(
        changes, context.vault, uri=uri, environment_id=ENVIRONMENT, roles=(), system=system
    )
    changes.update(container, {"agentId": agent.id})
    await context.store.commit(changes)
    key = keys[0][1]
    header = aiohttp.encode_basic_auth(str(key["publicValue"]), unseal(key, context.vault))
    return Agent(agent.id, {"Authorization": header})
