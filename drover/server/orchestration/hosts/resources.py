"""From an agent's report to rows: the machine, the host, its storage pool and its address.

Source: the resource monitor of Rancher 1.6, with two differences: labels that an agent no longer reports disappear,
and a Docker engine that another machine's connected agent owns is refused instead of being fought over.
"""

from __future__ import annotations

import uuid
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.context import Context
from drover.server.orchestration.hosts import labels as host_labels
from drover.server.orchestration.hosts.report import ReportedHost, read_report
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Changes, Record

log = structlog.get_logger(__name__)

_LOST = frozenset({"disconnected", "disconnecting", "inactive", "deactivating", "removing", "removed"})


class HostResources:
    """Takes over reports. ``agents`` and ``hosts`` mirror those rows."""

    def __init__(self, context: Context, agents: Mirror, hosts: Mirror) -> None:
        self._context = context
        self._agents = agents
        self._hosts = hosts

    async def take(self, agent: Record, elements: list[dict[str, Any]]) -> None:
        """Create or update what the agent reports. An identical report changes nothing."""
        await self._hosts.ready()
        environment_id = agent["agentResourcesAccountId"] or agent.account_id
        for reported in read_report(elements):
            known = self._find(agent, reported)
            if known is not None and known["agentId"] not in (None, agent.id):
                known = await self._take_over(agent, known, reported)
                if known is None:
                    continue
            if known is None:
                await self._create(agent, environment_id, reported)
            elif known.state not in ("removing", "removed"):
                await self._update(agent, known, reported)

    def _find(self, agent: Record, reported: ReportedHost) -> Record | None:
        named = [host for host in self._hosts if reported.uuid in (host["reportedUuid"], host.uuid)]
        environment_id = agent["agentResourcesAccountId"] or agent.account_id
        return next(
            (host for host in named if host["agentId"] == agent.id),
            next((host for host in named if host["accountId"] == environment_id), None),
        )

    async def _take_over(self, agent: Record, host: Record, reported: ReportedHost) -> Record | None:
        """A host that another agent brought: ours if that agent is lost, refused while it is connected."""
        owner = self._agents.get(host["agentId"])
        if owner is not None and owner.state not in _LOST:
            await self._refuse(agent, host, owner, reported)
            return None
        changes = self._context.store.changes()
        changes.guard(host, agentId=host["agentId"])
        moved = changes.update(host, {"agentId": agent.id, "agentState": agent.state})
        await self._context.store.commit(changes)
        log.info("host.taken_over", host_id=host.id, agent_id=agent.id, from_agent_id=host["agentId"])
        return moved

    async def _refuse(self, agent: Record, host: Record, owner: Record, reported: ReportedHost) -> None:
        text = (
            f"Host {host.name or host['hostname'] or host.id} is connected already: its Docker engine {reported.uuid} "
            f"belongs to agent {owner.id}. If this machine is a copy of that one, give it a new identity "
            f"(drover agent --new-identity) and register it again; otherwise remove the other host first."
        )
        log.warning("host.duplicate_identity", agent_id=agent.id, host_id=host.id, owner_agent_id=owner.id)
        if agent["transitioningMessage"] != text:
            changes = self._context.store.changes()
            changes.update(agent, {"transitioning": "error", "transitioningMessage": text})
            await self._context.store.commit(changes)

    async def _create(self, agent: Record, environment_id: int | None, reported: ReportedHost) -> None:
        changes = self._context.store.changes()
        physical_id = await self._physical_host(changes, agent, environment_id, reported)
        labels = {**reported.labels, **reported.create_labels}
        host = changes.insert(
            "host",
            {
                "uuid": str(uuid.uuid4()) if await self._uuid_taken(reported.uuid) else reported.uuid,
                "kind": reported.kind,
                "state": "requested",
                "name": reported.name,
                "hostname": reported.hostname,
                "created": now_ms(),
                "accountId": environment_id,
                "agentId": agent.id,
                "agentState": agent.state,
                "physicalHostId": physical_id,
                "reportedUuid": reported.uuid,
                "labels": labels,
                "reportedLabels": dict(reported.labels),
                "info": reported.info,
                "apiProxy": reported.api_proxy,
                "memory": reported.memory,
                "milliCpu": reported.milli_cpu,
                "localStorageMb": reported.local_storage_mb,
                "agentIpAddress": reported.address,
                "computeTotal": 1_000_000,
                "computeFree": 1_000_000,
            },
        )
        changes.claim(f"host:{environment_id}:{reported.uuid}", host)
        for key, value in labels.items():
            source = "agent" if key in reported.labels else "user"
            host_labels.plan_row(changes, host, key, value, source=source)
        self._plan_pools(changes, host, reported, set())
        if reported.address:
            self._plan_address(changes, host, reported.address)
        self._context.engine.schedule(changes, "host.create", host)
        await self._context.store.commit(changes)
        log.info("host.found", host_id=host.id, agent_id=agent.id, hostname=reported.hostname)

    async def _uuid_taken(self, host_uuid: str) -> bool:
        return bool(await self._context.store.find_by("host", uuid=host_uuid))

    async def _update(self, agent: Record, host: Record, reported: ReportedHost) -> None:
        last = host["reportedLabels"] or {}
        labels = host_labels.merge(host["labels"] or {}, last, reported.labels)
        if host["reportedLabels"] is None:
            labels = {**reported.create_labels, **labels}  # a provisioned machine reports for the first time
        found = {
            "agentId": agent.id,
            "reportedUuid": reported.uuid,
            "hostname": reported.hostname or host["hostname"],
            "info": reported.info or host["info"],
            "apiProxy": reported.api_proxy or host["apiProxy"],
            "labels": labels,
            "reportedLabels": dict(reported.labels),
            "memory": reported.memory if host["memory"] is None else host["memory"],
            "milliCpu": reported.milli_cpu if host["milliCpu"] is None else host["milliCpu"],
            "localStorageMb": reported.local_storage_mb if host["localStorageMb"] is None else host["localStorageMb"],
            "agentIpAddress": reported.address or host["agentIpAddress"],
        }
        values = {name: value for name, value in found.items() if host[name] != value}
        changes = self._context.store.changes()
        pools = {pool.uuid for pool in await self._context.store.find_by("storagePool", hostId=host.id, removed=None)}
        self._plan_pools(changes, host, reported, pools)
        if reported.address and reported.address != host["agentIpAddress"]:
            await self._move_address(changes, host, reported.address)
        if values:
            changes.update(host, values)
        if "labels" in values:
            await host_labels.plan_rows(self._context.store, changes, host, labels, reported.labels)
            self._schedule_update(changes, host.merged(values), {"labels": labels, "old": {"labels": host["labels"]}})
        await self._context.store.commit(changes)

    def _schedule_update(self, changes: Changes, host: Record, data: dict[str, Any]) -> None:
        """Labels decide about placement: whoever plans global services hears of it as ``host.update``."""
        try:
            self._context.engine.schedule(changes, "host.update", host, data)
        except ProcessConflict as busy:
            log.debug("host.update_not_needed", host_id=host.id, reason=str(busy))

    async def _physical_host(
        self, changes: Changes, agent: Record, environment_id: int | None, reported: ReportedHost
    ) -> int | None:
        if reported.physical_uuid is None:
            return None
        for row in await self._context.store.find_by("physicalHost", agentId=agent.id, removed=None):
            if reported.physical_uuid in (row["externalId"], row["reportedUuid"], row.uuid):
                return row.id
        waiting = await self._context.store.find_by(
            "physicalHost", externalId=reported.physical_uuid, agentId=None, removed=None
        )
        if waiting:
            changes.update(waiting[0], {"agentId": agent.id})
            return waiting[0].id
        values = {
            "kind": "physicalHost",
            "uuid": str(uuid.uuid4()),
            "reportedUuid": reported.physical_uuid,
            "name": reported.hostname,
            "accountId": environment_id,
            "agentId": agent.id,
            "state": "active",
            "created": now_ms(),
        }
        return changes.insert("physicalHost", values).id

    @staticmethod
    def _plan_pools(changes: Changes, host: Record, reported: ReportedHost, known: set[str]) -> None:
        for pool in reported.pools:
            if str(pool["uuid"]) in known:
                continue
            changes.insert(
                "storagePool",
                {
                    "uuid": str(pool["uuid"]),
                    "kind": str(pool.get("kind") or "docker"),
                    "name": pool.get("name"),
                    "driverName": pool.get("driverName"),
                    "accountId": host["accountId"],
                    "agentId": host["agentId"],
                    "hostId": host.id,
                    "hostIds": [host.id],
                    "external": False,
                    "state": "active",
                    "created": now_ms(),
                },
            )

    @staticmethod
    def _plan_address(changes: Changes, host: Record, address: str) -> None:
        changes.insert(
            "ipAddress",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "ipAddress",
                "address": address,
                "accountId": host["accountId"],
                "hostId": host.id,
                "state": "active",
                "created": now_ms(),
            },
        )

    async def _move_address(self, changes: Changes, host: Record, address: str) -> None:
        rows = await self._context.store.find_by("ipAddress", hostId=host.id, instanceId=None, removed=None)
        if rows:
            changes.update(rows[0], {"address": address})
        else:
            self._plan_address(changes, host, address)
