"""Addresses that a service retains: one for each index and launch config, whichever container has it at the moment.

The row ``serviceIndex`` owns the address. A container refers to its row and is given the address when it starts, on
whatever host, in whatever version; it goes back when the index goes, with the unit or the service. Source: Rancher 1.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.networks.addresses import claim_key
from drover.server.orchestration.services.digest import Digest, Member
from drover.server.orchestration.services.spec import PRIMARY_LABEL, LaunchConfig, ServiceSpec
from drover.server.store import Changes, Record

_WITHOUT_ADDRESS = frozenset({"host", "none", "container", "bridge"})
_CHUNK = 200

Key = tuple[str, str]  # index, launch config


class ServiceIndexes:
    """The rows of a service that retains its addresses; of any other service, nothing."""

    def __init__(self, spec: ServiceSpec, rows: Mapping[Key, Record] | None) -> None:
        self._spec = spec
        self._rows = None if rows is None else dict(rows)

    @classmethod
    async def load(cls, context: Context, spec: ServiceSpec) -> ServiceIndexes:
        if not spec.record["retainIp"]:
            return cls(spec, None)
        rows = await context.store.find_by("serviceIndex", serviceId=spec.id, removed=None)
        return cls(spec, {(str(row["serviceIndex"]), str(row["launchConfigName"])): row for row in rows})

    def apply(self, changes: Changes, values: dict[str, Any], *, config: LaunchConfig) -> None:
        """Let a container that is about to be made have the address of its index."""
        if self._rows is None or str(values.get("networkMode") or "") in _WITHOUT_ADDRESS:
            return
        key = (str(values["serviceIndex"]), _config_name(config.name))
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._insert(changes, key, None)
        values["serviceIndexId"] = row.id

    def _insert(self, changes: Changes, key: Key, address: str | None) -> Record:
        index, config = key
        row = changes.insert(
            "serviceIndex",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "serviceIndex",
                "accountId": self._spec.account_id,
                "serviceId": self._spec.id,
                "serviceIndex": index,
                "launchConfigName": config,
                "address": address,
                "state": "active",
                "created": now_ms(),
            },
        )
        changes.claim(f"service-index:{self._spec.id}:{index}:{config}", row)
        return row

    def adopt(self, changes: Changes, container: Record, config: str, address: Record) -> None:
        """Plan that the index owns the address that a container has now, unless it owns one already."""
        key = (str(container["serviceIndex"]), _config_name(config))
        if self._rows is None or key in self._rows:
            return
        text = str(address["address"])
        row = self._rows[key] = self._insert(changes, key, text)
        if address["subnetId"] is not None:
            changes.release(claim_key(int(address["subnetId"]), text), container)
            changes.claim(claim_key(int(address["subnetId"]), text), row)
        changes.update(container, {"serviceIndexId": row.id})


async def adopt_addresses(context: Context, digest: Digest) -> None:
    """A service was told to retain its addresses while it runs: those that its containers have are the ones to keep."""
    if not digest.spec.record["retainIp"]:
        return
    waiting = [each for each in digest.members() if not each.upgrade and each.record["serviceIndexId"] is None]
    if not waiting:
        return
    store = context.store
    indexes = await ServiceIndexes.load(context, digest.spec)
    for start in range(0, len(waiting), _CHUNK):
        chunk = waiting[start : start + _CHUNK]
        await store.ensure_ids("serviceIndex", len(chunk))
        containers = await store.get_many("instance", [member.id for member in chunk])
        held = [int(each["ipAddressId"]) for each in containers.values() if each["ipAddressId"] is not None]
        addresses = await store.get_many("ipAddress", held) if held else {}
        changes = store.changes()
        for member in chunk:
            container = containers.get(member.id)
            address = None if container is None else addresses.get(container["ipAddressId"])
            if container is not None and address is not None and address["removed"] is None:
                indexes.adopt(changes, container, member.config, address)
        if not changes.empty:
            await store.commit(changes)


def plan_release(changes: Changes, members: Iterable[Member]) -> None:
    """The indexes of these containers are gone for good, and what they retained is free."""
    for index_id in {member.record["serviceIndexId"] for member in members} - {None}:
        plan_index_removal(changes, Record("serviceIndex", int(index_id), {}))


def plan_index_removal(changes: Changes, index: Record) -> None:
    changes.update(index, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
    changes.release_all(index)


def _config_name(name: str) -> str:
    return name or PRIMARY_LABEL
