"""Who may see an environment as its hosts see it: the agents of its hosts and of their metadata containers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drover.server.store import Record, Store

METADATA_LABEL = "io.rancher.container.agent_service.metadata"

_INSTANCE_URI = re.compile(r"/instanceId=(\d{1,18})\Z")
_ALIVE = frozenset({"creating", "starting", "running", "restarting", "updating-running"})
_LEFT = frozenset({"removing", "removed", "purging", "purged"})


@dataclass(frozen=True, slots=True)
class Receiver:
    """An agent that is told of an environment. ``host_uuid`` is None while its container has no host."""

    agent_id: int
    environment_id: int
    host_uuid: str | None
    host_id: int | None


class Receivers:
    """Finds out what an agent stands for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of_agent(self, agent_id: int | None) -> Receiver | None:
        """None for an agent that has no business with the environment as a whole."""
        agent = await self._agent(agent_id)
        if agent is None:
            return None
        number = _instance_of(agent)
        return await self._of_host(agent) if number is None else await self._of_container(agent, number)

    async def of_metadata(self, agent_id: int | None) -> Receiver | None:
        """Only for the agent of a metadata container."""
        agent = await self._agent(agent_id)
        number = None if agent is None else _instance_of(agent)
        return None if agent is None or number is None else await self._of_container(agent, number)

    async def _agent(self, agent_id: int | None) -> Record | None:
        agent = None if agent_id is None else await self._store.get("agent", agent_id)
        return None if agent is None or agent["removed"] is not None else agent

    async def _of_host(self, agent: Record) -> Receiver | None:
        for host in await self._store.find_by("host", agentId=agent.id, removed=None):
            if host.account_id is not None and host.state not in _LEFT:
                return Receiver(agent.id, host.account_id, host.uuid, host.id)
        return None

    async def _of_container(self, agent: Record, number: int) -> Receiver | None:
        instance = await self._store.get("instance", number)
        if instance is None or not is_metadata(instance) or instance["agentId"] != agent.id:
            return None
        host_id = instance["hostId"]
        host = None if host_id is None else await self._store.get("host", int(host_id))
        assert instance.account_id is not None
        return Receiver(
            agent.id,
            instance.account_id,
            None if host is None else host.uuid,
            None if host is None else host.id,
        )


def _instance_of(agent: Record) -> int | None:
    """The container that an agent is behind."""
    match = _INSTANCE_URI.search(str(agent["uri"] or ""))
    return None if match is None else int(match[1])


def is_metadata(instance: Record) -> bool:
    """Whether the container provides its host with metadata. The label alone is not enough: everybody can set it."""
    labels = instance["labels"] or {}
    return (
        str(labels.get(METADATA_LABEL)).strip().lower() == "true"
        and bool(instance["system"])
        and instance.state in _ALIVE
        and instance["removed"] is None
        and instance.account_id is not None
    )
