"""``publicEndpoints`` of services and hosts: computed from the active ports when a page is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from drover.server.api.call import Call
from drover.server.api.extensions import Extensions
from drover.server.resources.tables import table
from drover.server.store import Record

_ANY = ("", "0.0.0.0")  # noqa: S104 - a port bound to every address of its host


def register(extensions: Extensions) -> None:
    extensions.computes("service")(endpoints_of_services)
    extensions.computes("host")(endpoints_of_hosts)


async def endpoints_of_services(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    return await _endpoints(call, records, "service_id")


async def endpoints_of_hosts(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    return await _endpoints(call, records, "host_id")


async def _endpoints(call: Call, records: Sequence[Record], column: str) -> dict[int, dict[str, Any]]:
    port, instance = table("port").c, table("instance").c
    statement = (
        sa.select(port.public_port, port.data, instance.id, instance.service_id, instance.host_id)
        .select_from(table("port").join(table("instance"), port.instance_id == instance.id))
        .where(
            instance[column].in_([record.id for record in records]),
            port.state == "active",
            port.public_port.is_not(None),
            port.removed.is_(None),
        )
        .order_by(port.public_port, instance.id)
    )
    rows = await call.store.rows(statement)
    hosts = await call.store.get_many("host", [row.host_id for row in rows if row.host_id is not None])
    found: dict[int, dict[str, Any]] = {record.id: {"publicEndpoints": []} for record in records}
    for row in rows:
        host = hosts.get(row.host_id)
        bound = _bind_address(row.data)
        address = host and host["agentIpAddress"] if bound in _ANY else bound
        found[getattr(row, column)]["publicEndpoints"].append(
            {
                "type": "publicEndpoint",
                "ipAddress": address,
                "port": row.public_port,
                "serviceId": row.service_id,
                "hostId": row.host_id,
                "instanceId": row.id,
            }
        )
    return found


def _bind_address(data: str | None) -> str:
    """The address a port is bound to; it has no column of its own, because nobody looks ports up by it."""
    return str(msgspec.json.decode(data).get("bindAddress") or "") if data else ""
