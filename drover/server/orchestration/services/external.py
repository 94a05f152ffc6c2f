"""External services: names for what runs elsewhere. Each address (or the host name) is a member row of its own."""

from __future__ import annotations

import uuid

from drover.common.clock import now_ms
from drover.server.store import Changes, Record, Store

KIND = "externalService"


async def plan_targets(store: Store, changes: Changes, service: Record) -> None:
    """Make the member rows what the service says: missing ones are added, others go."""
    addresses = {("ipAddress", str(each)) for each in service["externalIpAddresses"] or []}
    name = service["hostname"]
    wanted = addresses or ({("hostName", str(name))} if name else set())
    for row in await store.find_by("serviceExposeMap", serviceId=service.id, removed=None):
        present = {(field, str(row[field])) for field in ("ipAddress", "hostName") if row[field]}
        if present & wanted:
            wanted -= present
        else:
            changes.update(row, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
    for field, value in sorted(wanted):
        changes.insert(
            "serviceExposeMap",
            {
                "kind": "serviceExposeMap",
                "uuid": str(uuid.uuid4()),
                "accountId": service.account_id,
                "serviceId": service.id,
                field: value,
                "managed": True,
                "upgrade": False,
                "state": "active",
                "created": now_ms(),
            },
        )
