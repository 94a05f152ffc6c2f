"""A large environment, written into a server's database before it starts, which takes seconds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from drover.common.clock import now_ms
from drover.server.assembly import Assembly
from drover.server.orchestration.agents.accounts import plan_instance_agent
from drover.server.orchestration.agents.uris import of_instance
from drover.server.orchestration.credentials import unseal
from drover.server.store import Changes, Record, Store

ENVIRONMENT = 5
_SERVICES_PER_STACK = 10
_CHUNK = 500
_LABEL = "io.rancher.container.agent_service.metadata"


@dataclass(frozen=True, slots=True)
class Crowd:
    """The number of one of the containers, and for each host the header that its metadata container logs in with."""

    container_ids: tuple[int, ...]
    logins: tuple[Mapping[str, str], ...]


async def seed_crowd(data_dir: Path, *, hosts: int, services: int, containers: int) -> Crowd:
    """Hosts with a metadata container each, services in stacks, and running containers spread over both."""
    data_dir.mkdir(parents=True, exist_ok=True)
    async with Assembly.open(data_dir, "", "none", ()) as assembly:
        return await _Seed(assembly).plant(hosts, services, containers)


class _Seed:
    def __init__(self, assembly: Assembly) -> None:
        self._context = assembly.context
        self._store: Store = assembly.context.store

    async def plant(self, hosts: int, services: int, containers: int) -> Crowd:
        network = await self._store.first("network", accountId=ENVIRONMENT, kind="managed")
        assert network is not None
        machines = await self._insert("host", [_host(number) for number in range(hosts)])
        stacks = await self._insert(
            "stack", [{"name": f"stack{number}"} for number in range(-(-services // _SERVICES_PER_STACK))]
        )
        rows = [_service(number, stacks[number // _SERVICES_PER_STACK]) for number in range(services)]
        made = await self._insert("service", rows)
        members = await self._insert(
            "instance",
            [
                _container(number, network, machines[number % hosts], made[number % services], stacks)
                for number in range(containers)
            ],
        )
        await self._insert(
            "serviceExposeMap",
            [
                {"serviceId": made[number % services].id, "instanceId": member.id, "managed": True}
                for number, member in enumerate(members)
            ],
        )
        logins = [await self._metadata(network, machine) for machine in machines]
        return Crowd(tuple(member.id for member in members), tuple(logins))

    async def _insert(self, type_name: str, rows: list[dict[str, Any]]) -> list[Record]:
        found: list[Record] = []
        for start in range(0, len(rows), _CHUNK):
            await self._store.ensure_ids(type_name, _CHUNK)
            changes = self._store.changes()
            found.extend(_plan(changes, type_name, values) for values in rows[start : start + _CHUNK])
            await self._store.commit(changes)
        return found

    async def _metadata(self, network: Record, machine: Record) -> Mapping[str, str]:
        """The container that follows, with the keys of its agent."""
        changes = self._store.changes()
        values = _container(1_000_000 + machine.id, network, machine, None, ())
        container = _plan(changes, "instance", {**values, "system": True, "labels": {_LABEL: "true"}})
        agent, keys = plan_instance_agent(
            changes,
            self._context.vault,
            uri=of_instance(container.id),
            environment_id=ENVIRONMENT,
            roles=(),
            system=True,
        )
        changes.update(container, {"agentId": agent.id})
        await self._store.commit(changes)
        key = keys[0][1]
        secret = unseal(key, self._context.vault)
        return {"Authorization": aiohttp.encode_basic_auth(str(key["publicValue"]), secret)}


def _plan(changes: Changes, type_name: str, values: Mapping[str, Any]) -> Record:
    common = {"uuid": str(uuid.uuid4()), "accountId": ENVIRONMENT, "state": "active", "created": now_ms()}
    return changes.insert(type_name, {"kind": type_name, **common, **values})


def _host(number: int) -> dict[str, Any]:
    return {
        "kind": "docker",
        "name": f"host-{number}",
        "hostname": f"host-{number}.example.com",
        "agentIpAddress": f"172.16.{number // 250}.{number % 250 + 1}",
        "agentState": "active",
        "labels": {"io.rancher.host.os": "linux", "zone": f"zone-{number % 3}"},
        "memory": 64 << 30,
        "milliCpu": 16_000,
        "localStorageMb": 500_000,
    }


def _service(number: int, stack: Record) -> dict[str, Any]:
    launch = {"imageUuid": "docker:example/web:1", "ports": ["8080/tcp"], "labels": {"tier": "web"}}
    return {
        "name": f"service{number}",
        "stackId": stack.id,
        "state": "inactive",
        "scale": 10,
        "launchConfig": launch,
        "metadata": {"greeting": "hello"},
    }


def _container(
    number: int, network: Record, host: Record, service: Record | None, stacks: list[Record] | tuple[()]
) -> dict[str, Any]:
    name = f"container-{number}" if service is None else f"{service.name}-{number}"
    labels = {
        "io.rancher.stack.name": stacks[0].name if stacks else "",
        "io.rancher.stack_service.name": f"{stacks[0].name if stacks else ''}/{service.name if service else ''}",
        "io.rancher.service.deployment.unit": str(uuid.uuid4()),
        "io.rancher.container.uuid": str(uuid.uuid4()),
        "io.rancher.environment.uuid": "adminProject",
        "io.rancher.service.launch.config": "io.rancher.service.primary.launch.config",
    }
    return {
        "kind": "container",
        "name": name,
        "state": "running",
        "labels": labels,
        "hostId": host.id,
        "primaryNetworkId": network.id,
        "primaryIpAddress": f"10.42.{number // 250 % 250}.{number % 250 + 1}",
        "primaryMacAddress": f"02:00:05:2a:{number // 250 % 250:02x}:{number % 250:02x}",
        "externalId": uuid.uuid4().hex * 2,
        "createIndex": number,
        "startCount": 1,
        "serviceIndex": str(number),
        "stackId": stacks[0].id if stacks else None,
        "imageUuid": "docker:example/web:1",
        "startOnCreate": True,
        "dnsInternal": "169.254.169.250",
        "dnsSearchInternal": f"{name}.rancher.internal,rancher.internal",
    }
