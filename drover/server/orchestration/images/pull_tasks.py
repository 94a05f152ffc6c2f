"""Pull tasks: bring an image to every host that may run it, before an upgrade needs it there.

The task's ``status`` tells each host's progress (``Pulling``, ``Done`` or what went wrong). Source: Rancher 1.6.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from drover.placement.affinity import Subject, affinities_of
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Outcome, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.images.reference import split_image
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record

KIND = "pullTask"
_AT_ONCE = 50
_SERVING = frozenset({"active", "updating-active"})


class PullTasks:
    """Handles the creation of ``pullTask`` objects."""

    def __init__(self, channel: AgentChannel, hosts: Mirror, credentials: RegistryCredentials) -> None:
        self._channel = channel
        self._hosts = hosts
        self._credentials = credentials

    async def run(self, run: Run) -> Outcome | None:
        """Pull on all hosts at once; a host that fails is told of in the status and does not stop the others."""
        await self._hosts.ready()
        task = run.record
        hosts = [host for host in self._hosts.where(accountId=task.account_id) if _suits(host, task["labels"] or {})]
        pull = await self._pull(task)
        status: dict[str, str] = {str(host.uuid): "Pulling" for host in hosts}
        await run.apply({"status": dict(status)})
        gate = asyncio.Semaphore(_AT_ONCE)

        async def on(host: Record) -> None:
            async with gate:
                status[str(host.uuid)] = await self._ask(host, pull)

        async with asyncio.TaskGroup() as group:
            for host in hosts:
                group.create_task(on(host))
        await run.apply({"status": dict(status)})
        async with asyncio.TaskGroup() as group:
            for host in hosts:
                if status[str(host.uuid)] == "Done":
                    group.create_task(self._ask(host, {**pull, "complete": True}))
        return None

    async def _pull(self, task: Record) -> dict[str, Any]:
        image = str(task["image"] or "").removeprefix("docker:")
        server, name = split_image(image)
        credential = await self._credentials.choose(int(task.account_id or 0), f"docker:{image}")
        return {
            "kind": "docker",
            "mode": str(task["mode"] or "all"),
            "tag": f"pull-{hashlib.sha256(task.uuid.encode()).hexdigest()[:8]}",
            "complete": False,
            "image": {
                "data": {"dockerImage": {"fullName": name, "server": "" if server == "index.docker.io" else server}},
                "registryCredential": await self._credentials.payload(credential),
            },
        }

    async def _ask(self, host: Record, pull: Mapping[str, Any]) -> str:
        if host["agentId"] is None:
            return "the host has no agent"
        try:
            await self._channel.call(
                int(host["agentId"]), "compute.instance.pull", resource_type="resourcePull", data={"instancePull": pull}
            )
        except (NoAnswer, Refused, AgentGone) as error:
            return str(error)
        return "Done"


def _suits(host: Record, labels: Mapping[str, Any]) -> bool:
    """Whether containers with these labels may run on the host, as far as its own labels tell."""
    if host.state not in _SERVING:
        return False
    own = {str(key).lower(): str(value).lower() for key, value in (host["labels"] or {}).items()}
    rules = [rule for rule in affinities_of(labels) if rule.subject is Subject.HOST_LABEL and rule.hard]
    return all((own.get(rule.key) == rule.value) is rule.wanted for rule in rules)
