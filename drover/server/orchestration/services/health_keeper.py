"""Keeps ``healthState`` of services, stacks and environments up to date, from the commits that can change it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from drover.server.orchestration.context import Context
from drover.server.orchestration.services.health import HEALTHY, Part, combined_health, service_health
from drover.server.orchestration.services.reconciler import Reconciler
from drover.server.orchestration.services.spec import DEPLOYS
from drover.server.store import Record, StoreError, Touched

log = structlog.get_logger(__name__)

# Health follows a burst of container changes once, not once a container; adding up may take a tenth of the time.
_GATHER_SECONDS = 0.1
_REST_FACTOR = 9.0
_LONGEST_REST = 2.0


class HealthKeeper:
    """Recomputes what became doubtful, bottom up: services, then their stacks, then the environments."""

    def __init__(self, context: Context, reconciler: Reconciler) -> None:
        self._context = context
        self._reconciler = reconciler
        self._services: set[int] = set()
        self._stacks: set[int] = set()
        self._accounts: set[int] = set()
        self._wake = asyncio.Event()
        self._adding_seconds = 0.0
        context.store.listen(self._hear)

    async def run(self) -> None:
        """Work until cancelled."""
        rest = _GATHER_SECONDS
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(rest)
            self._adding_seconds = 0.0
            try:
                await self._recompute()
            except StoreError as lost:
                log.info("health.lost_race", reason=str(lost))
                self._wake.set()
            rest = min(_LONGEST_REST, max(_GATHER_SECONDS, self._adding_seconds * _REST_FACTOR))

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            match row.type:
                case "instance":
                    if row.changed("state") or row.changed("healthState") or row.before is None:
                        self._doubt(self._services, row, "serviceId")
                case "service":
                    if row.changed("state") or row.changed("scale") or row.before is None:
                        self._services.add(row.id)
                        self._wake.set()
                    if row.changed("healthState") or row.changed("state"):
                        self._doubt(self._stacks, row, "stackId")
                case "stack":
                    if row.changed("healthState") or row.changed("state"):
                        self._doubt(self._accounts, row, "accountId")

    def _doubt(self, doubtful: set[int], row: Touched, field: str) -> None:
        record = row.after or row.before
        value = None if record is None else record[field]
        if value is not None:
            doubtful.add(int(value))
            self._wake.set()

    async def _recompute(self) -> None:
        services, self._services = self._services, set()
        await self._write(
            [(record, await self._service(record)) for record in await self._records("service", services)]
        )
        stacks, self._stacks = self._stacks, set()
        for stack in await self._records("stack", stacks):
            parts = await self._context.store.find_by("service", stackId=stack.id, removed=None)
            await self._write([(stack, combined_health([_part(each) for each in parts]))])
        accounts, self._accounts = self._accounts, set()
        for account in await self._records("account", accounts):
            parts = await self._context.store.find_by("stack", accountId=account.id, removed=None)
            await self._write([(account, combined_health([_part(each) for each in parts]))])

    async def _records(self, type_name: str, ids: set[int]) -> list[Record]:
        if not ids:
            return []
        found = await self._context.store.get_many(type_name, sorted(ids))
        return [record for record in found.values() if record["removed"] is None]

    async def _service(self, record: Record) -> str:
        if record.kind not in DEPLOYS:
            return HEALTHY
        digest = await self._reconciler.load(record.id)
        if digest is None:
            return HEALTHY
        started = time.monotonic()
        health = service_health(digest, serving_hosts=self._reconciler.serving_hosts(digest.spec.account_id))
        self._adding_seconds += time.monotonic() - started
        return health

    async def _write(self, found: list[tuple[Record, str]]) -> None:
        changes = self._context.store.changes()
        for record, health in found:
            if record["healthState"] != health:
                changes.update(record, {"healthState": health})
        await self._context.store.commit(changes)


def _part(record: Record) -> Part:
    return Part(record.state, str(record["healthState"] or HEALTHY))
