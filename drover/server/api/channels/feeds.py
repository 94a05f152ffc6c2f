"""``resource.change`` for subscribers: what changed, coalesced, rendered with the eyes of whoever listens.

A feed remembers *which* resources changed since its subscriber last took something, never how often: a slow client
gets fewer messages and the final state, instead of losing some or being cut off. Feeds of the same view (version,
role, project, address) share the rendered bytes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from drover.common.clock import now_ms
from drover.server.api.caller import Caller
from drover.server.store import Record, Store, Touched

_encode = msgspec.json.encode

Key = tuple[str, int]
Renderer = Callable[["View", Sequence[Record]], Awaitable[Mapping[Key, Mapping[str, Any]]]]

# A change of the left type shows on its relations, too: their computed fields and links depend on it.
_DERIVED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "service": (("stack", "stackId"),),
    "serviceConsumeMap": (("service", "serviceId"), ("service", "consumedServiceId")),
    "serviceExposeMap": (("service", "serviceId"), ("instance", "instanceId")),
    "mount": (("volume", "volumeId"), ("instance", "instanceId")),
    "instance": (("host", "hostId"),),
}
# Never shown to anybody as a change of its own: the engine's book-keeping would drown what people look for.
_SILENT = frozenset({"processInstance", "processExecution", "auditLog", "authToken", "serviceLog"})
_INTERVAL_SECONDS = 0.25
_LARGEST_BATCH = 200


@dataclass(frozen=True, slots=True)
class View:
    """Whose eyes: feeds with equal views show the same bytes."""

    caller: Caller
    version: str
    base_url: str
    project: str | None
    action_links: bool = False

    @property
    def sharing_key(self) -> tuple[object, ...]:
        caller = self.caller
        return (caller.role, caller.policy_account_id, self.version, self.base_url, self.project, self.action_links)


class Feed:
    """The changes that one subscriber has not been told yet."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._pending: dict[Key, Record | None] = {}
        self._ready = asyncio.Event()

    def offer(self, key: Key, record: Record | None) -> None:
        if record is None and self._pending.get(key) is not None:
            return
        self._pending[key] = record
        self._ready.set()

    async def take(self) -> dict[Key, Record | None]:
        """What changed, at least one resource and at most a batch; oldest first."""
        await self._ready.wait()
        await asyncio.sleep(_INTERVAL_SECONDS)
        taken: dict[Key, Record | None] = {}
        while self._pending and len(taken) < _LARGEST_BATCH:
            key = next(iter(self._pending))
            taken[key] = self._pending.pop(key)
        if not self._pending:
            self._ready.clear()
        return taken


class Feeds:
    """All feeds of this server. Costs nothing while nobody listens."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_account: dict[int, set[Feed]] = defaultdict(set)
        self._raw: set[Feed] = set()
        store.listen(self._hear)

    def open(self, view: View) -> Feed:
        feed = Feed(view)
        if view.caller.raw_subscriptions and view.caller.project_id is None:
            self._raw.add(feed)
        else:
            self._by_account[view.caller.policy_account_id].add(feed)
        return feed

    def close(self, feed: Feed) -> None:
        self._raw.discard(feed)
        account_id = feed.view.caller.policy_account_id
        self._by_account[account_id].discard(feed)
        if not self._by_account[account_id]:
            del self._by_account[account_id]

    def _hear(self, touched: Sequence[Touched]) -> None:
        if not self._by_account and not self._raw:
            return
        for row in touched:
            if row.type in _SILENT or row.after is None or not _worth_telling(row):
                continue
            listeners = self._listeners(row)
            if not listeners:
                continue
            related = _related(row)
            for feed in listeners:
                feed.offer((row.type, row.id), row.after)
                for key in related:
                    feed.offer(key, None)

    def _listeners(self, row: Touched) -> set[Feed]:
        found = set(self._raw)
        account_id = row.id if row.type == "account" else row.account_id
        if account_id is not None:
            found |= self._by_account.get(account_id, set())
        return found

    async def messages(self, taken: Mapping[Key, Record | None], view: View, render: Renderer) -> list[bytes]:
        """The frames for what was taken; resources that the subscriber may not see are left out."""
        missing: dict[str, list[int]] = defaultdict(list)
        for (type_name, row_id), record in taken.items():
            if record is None:
                missing[type_name].append(row_id)
        records = {key: record for key, record in taken.items() if record is not None}
        for type_name, ids in missing.items():
            records.update({(type_name, i): r for i, r in (await self._store.get_many(type_name, ids)).items()})
        ordered = [records[key] for key in taken if key in records]
        shown = await render(view, ordered)
        return [_frame(shown[record.key], view) for record in ordered if record.key in shown]


def _worth_telling(row: Touched) -> bool:
    """A removed row is told of once, in its final state; what happens to it afterwards interests nobody."""
    after = row.after
    assert after is not None
    return not (after["removed"] and after.state not in ("", "removed"))


def _related(row: Touched) -> list[Key]:
    relations = _DERIVED.get(row.type)
    record = row.after
    if relations is None or record is None:
        return []
    if row.type == "instance" and row.before is not None and not row.changed("hostId") and not row.changed("removed"):
        return []
    return [(type_name, int(record[field])) for type_name, field in relations if record[field] is not None]


def _frame(resource: Mapping[str, Any], view: View) -> bytes:
    data: dict[str, Any] = {"resource": resource}
    if view.action_links and "actions" in resource:
        data = {
            "resource": {name: value for name, value in resource.items() if name != "actions"},
            "actionLinks": resource["actions"],
        }
    return _encode(
        {
            "id": str(uuid.uuid4()),
            "name": "resource.change",
            "resourceId": resource.get("id"),
            "resourceType": resource.get("type"),
            "data": data,
            "time": now_ms(),
        }
    )
