"""Draws conclusions from votes and keeps the assignment of checkers: level-triggered, in bulk, from the commits.

Whatever happens only marks containers; a pass looks at the marked ones and plans what is missing. Nothing is
remembered outside the rows, so a server that starts looks at everything once and goes on.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict
from typing import TypeVar

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import ProcessConflict
from drover.server.orchestration.context import Context
from drover.server.orchestration.health.book import (
    HEALTHY,
    INITIALIZING,
    MAP,
    REGISTRATION,
    REINITIALIZING,
    UNHEALTHY,
    Book,
    Target,
)
from drover.server.orchestration.health.election import choose, connected, qualifies, skips
from drover.server.orchestration.health.network_stacks import NetworkStacks
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.removal import removed
from drover.server.store import Changes, Record, StoreError

log = structlog.get_logger(__name__)

# One plan never holds more rows than this, and a pass lets others work between two plans.
_LARGEST_PLAN = 500
_RETRY_SECONDS = 0.5

T = TypeVar("T")


class Judge:
    """Runs as long as the server lives."""

    def __init__(
        self, context: Context, book: Book, hosts: Mirror, stacks: NetworkStacks, rng: random.Random | None = None
    ) -> None:
        self._context = context
        self._book = book
        self._hosts = hosts
        self._stacks = stacks
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._doubtful: set[int] = set()
        self._unchecked: set[int] = set()
        self._unchecked_in: set[int] = set()
        self._left: dict[int, list[Record]] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._hosts.ready()
        await self._stacks.ready()
        await self._book.ready()
        self._start()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._pass()
            except StoreError as lost:
                log.info("health.pass_lost_race", reason=str(lost))
                await asyncio.sleep(_RETRY_SECONDS)
                self._look_at_all()

    def _start(self) -> None:
        self._book.on_change(self._mark)
        self._book.on_gone(self._mark_gone)
        self._stacks.on_settled(self._settle_later)
        self._hosts.on_change(self._host_changed)
        for orphan in self._book.orphans:
            self._left.setdefault(int(orphan["instanceId"] or 0), []).append(orphan)
        self._book.orphans.clear()
        self._wake.set()

    # What makes containers doubtful

    def _mark(self, target: Target) -> None:
        if concluded(target) is not None:
            self._doubtful.add(target.id)
            self._wake.set()
        if target.running and not target.votes:
            self._unchecked.add(target.id)
            self._wake.set()

    def _mark_gone(self, target: Target) -> None:
        rows = [vote.record for vote in target.votes.values()]
        if target.registration_id is not None:
            rows.append(Record(REGISTRATION, target.registration_id, {}))
        if rows:
            self._left[target.id] = rows
            self._wake.set()

    def _settle_later(self, account_id: int, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds + 0.05, self._doubt_all, account_id)

    def _doubt_all(self, account_id: int) -> None:
        self._doubtful.update(target.id for target in self._book if target.account_id == account_id)
        self._wake.set()

    def _look_at_all(self) -> None:
        for target in self._book:
            self._doubtful.add(target.id)
            self._unchecked.add(target.id)
        self._wake.set()

    def _host_changed(self, before: Record | None, after: Record | None) -> None:
        """A host that goes takes its votes with it; one that comes may check what has too few checkers."""
        host = after or before
        if host is None or (before is not None and after is not None and _standing(before) == _standing(after)):
            return
        if after is None or not connected(after) or skips(after):
            self._drop_votes_of(host.id)
        if host.account_id is not None:
            self._unchecked_in.add(host.account_id)
            self._wake.set()

    def _drop_votes_of(self, host_id: int) -> None:
        for target in self._book:
            vote = target.votes.get(host_id)
            if vote is not None:
                self._left.setdefault(target.id, []).append(vote.record)

    # A pass

    async def _pass(self) -> None:
        await self._clear_left()
        unchecked, self._unchecked = self._unchecked, set()
        accounts, self._unchecked_in = self._unchecked_in, set()
        if accounts:
            unchecked.update(target.id for target in self._book if target.account_id in accounts)
        if unchecked:
            await self._register(unchecked)
        doubtful, self._doubtful = self._doubtful, set()
        await self._conclude(doubtful)

    async def _clear_left(self) -> None:
        left, self._left = self._left, {}
        rows = {record.key: record for records in left.values() for record in records}
        for part in _parts(list(rows.values())):
            changes = self._context.store.changes()
            for record in part:
                changes.update(record, {"state": "removed", **removed(self._context.settings, record.type)})
            await self._context.store.commit(changes)

    async def _register(self, ids: set[int]) -> None:
        hosts: dict[int, list[Record]] = defaultdict(list)
        for host in self._hosts:
            if host.account_id is not None:
                hosts[host.account_id].append(host)
        added: list[tuple[Target, list[Record]]] = []
        for instance_id in ids:
            target = self._book.get(instance_id)
            if target is None or not target.running:
                continue
            own = self._hosts.get(target.record["hostId"])
            chosen = choose(own, hosts[target.account_id], list(target.votes), rng=self._rng)
            if chosen:
                added.append((target, chosen))
        for part in _parts(added):
            await self._context.store.ensure_ids(REGISTRATION, len(part))
            await self._context.store.ensure_ids(MAP, sum(len(chosen) for _, chosen in part))
            changes = self._context.store.changes()
            for target, chosen in part:
                self._plan_checkers(changes, target, chosen)
            await self._context.store.commit(changes)

    def _plan_checkers(self, changes: Changes, target: Target, hosts: list[Record]) -> None:
        changes.guard(target.record, removed=None)
        now = now_ms()
        common = {"accountId": target.account_id, "instanceId": target.id, "state": "active", "created": now}
        registration_id = target.registration_id
        if registration_id is None:
            own = {"kind": REGISTRATION, "uuid": str(uuid.uuid4())}
            registration_id = changes.insert(REGISTRATION, {**common, **own}).id
        for host in hosts:
            own = {"kind": MAP, "uuid": str(uuid.uuid4()), "healthState": INITIALIZING}
            changes.insert(MAP, {**common, **own, "healthcheckInstanceId": registration_id, "hostId": host.id})

    async def _conclude(self, ids: set[int]) -> None:
        """One small plan each: a container that moved on does not hold up the others, and the store joins them."""
        plans: list[tuple[int, Changes]] = []
        for instance_id in ids:
            target = self._book.get(instance_id)
            process = None if target is None else concluded(target)
            if target is None or process is None:
                continue
            if process == "instance.updateunhealthy" and self._stacks.busy(target.account_id):
                continue  # looked at again when the network has settled
            changes = self._context.store.changes()
            try:
                self._context.engine.schedule(changes, process, target.record)
            except ProcessConflict as busy:
                log.debug("health.busy", instance_id=target.id, reason=str(busy))
                continue  # the commit that ends what runs now marks it again
            changes.guard(target.record, removed=None)
            plans.append((instance_id, changes))
        for part in _parts(plans):
            await self._context.store.ensure_ids("processInstance", len(part))
            await asyncio.gather(*(self._schedule(instance_id, changes) for instance_id, changes in part))

    async def _schedule(self, instance_id: int, changes: Changes) -> None:
        try:
            await self._context.store.commit(changes)
        except StoreError as moved:
            log.debug("health.moved_on", instance_id=instance_id, reason=str(moved))


def concluded(target: Target) -> str | None:
    """The process that the votes call for. One healthy vote suffices; unhealthy needs that nobody says healthy."""
    if target.voted(HEALTHY):
        return "instance.updatehealthy" if target.health in (INITIALIZING, REINITIALIZING, UNHEALTHY) else None
    if target.health == HEALTHY and target.running and target.voted(UNHEALTHY):
        return "instance.updateunhealthy"
    return None


def _standing(host: Record) -> tuple[bool, bool, bool]:
    return qualifies(host), connected(host), skips(host)


def _parts(items: list[T]) -> list[list[T]]:
    return [items[start : start + _LARGEST_PLAN] for start in range(0, len(items), _LARGEST_PLAN)]
