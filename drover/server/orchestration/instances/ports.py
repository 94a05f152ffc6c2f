"""Published ports as rows: what the API lists, and what service discovery and balancers look for."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from drover.common.clock import now_ms
from drover.placement import HostPort, parse_ports
from drover.server.store import Changes, Record, Store


async def plan_rows(store: Store, changes: Changes, instance: Record, published: Iterable[str]) -> None:
    """Bring the rows in step with the ports that the container has now. ``userPort``: somebody asked for it."""
    asked = {(port.private, port.protocol) for port in parse_ports(instance["ports"])}
    wanted = {_key(port): port for port in parse_ports(published)}
    for row in await store.find_by("port", instanceId=instance.id, removed=None):
        key = (str(row["bindAddress"]), row["publicPort"], int(row["privatePort"]), str(row["protocol"]))
        if wanted.pop(key, None) is None:
            changes.update(row, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
    await store.ensure_ids("port", len(wanted))
    for port in wanted.values():
        changes.insert(
            "port",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "userPort" if (port.private, port.protocol) in asked else "imagePort",
                "state": "active",
                "created": now_ms(),
                "accountId": instance["accountId"],
                "instanceId": instance.id,
                "privatePort": port.private,
                "publicPort": port.public or None,
                "protocol": port.protocol,
                "bindAddress": port.address,
            },
        )


def _key(port: HostPort) -> tuple[str, int | None, int, str]:
    return (port.address, port.public or None, port.private, port.protocol)
