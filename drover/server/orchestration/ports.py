"""Port rows: which container is reachable where, for people, load balancers and DNS.

They follow the containers from the commits, a moment later: a container that publishes nothing costs nothing here, and
starting one never waits for its rows.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.placement import parse_ports
from drover.placement.container import HostPort
from drover.server.orchestration.context import Context
from drover.server.store import Changes, Record, StoreError, Touched

log = structlog.get_logger(__name__)

ANY = "0.0.0.0"  # noqa: S104 - the address that stands for all of a host
_GATHER_SECONDS = 0.05
_SETTLED = frozenset({"running", "stopped", "error", "removed"})


class PortKeeper:
    """Keeps ``port`` rows in step with the containers that publish ports."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._doubtful: dict[int, Record] = {}
        self._wake = asyncio.Event()
        context.store.listen(self._hear)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._catch_up()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHER_SECONDS)
            doubtful, self._doubtful = self._doubtful, {}
            try:
                await self._settle(list(doubtful.values()))
            except StoreError as lost:
                log.info("ports.lost_race", reason=str(lost))
                self._doubtful = {**doubtful, **self._doubtful}
                self._wake.set()

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == "instance" and row.after is not None and row.changed("state"):
                after = row.after
                if after.state in _SETTLED and (after["ports"] or after["publishedPorts"]):
                    self._doubtful[row.id] = after
                    self._wake.set()

    async def _catch_up(self) -> None:
        """What a crash left undone: rows of containers that no longer run, and containers without rows."""
        ports = await self._context.store.find_by("port", removed=None)
        owners = [int(port["instanceId"]) for port in ports if port["instanceId"] is not None]
        running = [each for each in await self._context.store.find_by("instance", state="running") if each["ports"]]
        found = await self._context.store.get_many("instance", owners)
        await self._settle([*found.values(), *(each for each in running if each.id not in found)])

    async def _settle(self, instances: Sequence[Record]) -> None:
        if not instances:
            return
        store = self._context.store
        rows = await store.find_by("port", instanceId=tuple(each.id for each in instances), removed=None)
        by_instance: dict[int, list[Record]] = {}
        for row in rows:
            by_instance.setdefault(int(row["instanceId"]), []).append(row)
        await store.ensure_ids("port", 8 * len(instances))
        changes = store.changes()
        for instance in instances:
            _plan(changes, instance, by_instance.get(instance.id, []))
        await store.commit(changes)


def _plan(changes: Changes, instance: Record, rows: Sequence[Record]) -> None:
    if instance["removed"] or instance.state == "removed":
        for row in rows:
            changes.update(row, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
        return
    running = instance.state == "running"
    wanted = {_key(port): port for port in published_ports(instance)} if running else {}
    for row in rows:
        key = (str(row["protocol"]), int(row["privatePort"] or 0), str(row["bindAddress"] or ANY), row["publicPort"])
        state = "active" if key in wanted else "inactive"
        wanted.pop(key, None)
        if row.state != state:
            changes.update(row, {"state": state})
    for port in wanted.values():
        changes.insert("port", _values(instance, port))


def published_ports(instance: Record) -> list[HostPort]:
    """What the host really publishes, as its engine told, else what the container asks for."""
    texts: Sequence[Any] = instance["publishedPorts"] or instance["ports"] or ()
    return [port for port in parse_ports(texts) if port.public]


def _key(port: HostPort) -> tuple[str, int, str, int | None]:
    return (port.protocol, port.private, port.address or ANY, port.public or None)


def _values(instance: Record, port: HostPort) -> dict[str, Any]:
    return {
        "kind": "userPort",
        "uuid": str(uuid.uuid4()),
        "accountId": instance.account_id,
        "instanceId": instance.id,
        "privatePort": port.private,
        "publicPort": port.public or None,
        "protocol": port.protocol,
        "bindAddress": None if port.address in (None, "", ANY) else port.address,
        "state": "active",
        "created": now_ms(),
    }
