"""Who uses the network of a driver. A network is not taken away under running containers."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from drover.server.orchestration.networks.drivers import SERVICE_KIND
from drover.server.resources.tables import table
from drover.server.store import Record, Store


async def used_from_outside(store: Store, services: Sequence[Record]) -> Record | None:
    """A container of another stack (or of none) with an address in a network that one of the services provides."""
    drivers = [service for service in services if service.kind == SERVICE_KIND]
    if not drivers:
        return None
    driver_rows = await store.find_by("networkDriver", serviceId=[each.id for each in drivers], removed=None)
    if not driver_rows:
        return None
    networks = await store.find_by("network", networkDriverId=[each.id for each in driver_rows], removed=None)
    if not networks:
        return None
    address, instance = table("ipAddress").c, table("instance").c
    own_stacks = [int(service["stackId"]) for service in drivers]
    statement = (
        sa.select(instance.id)
        .join_from(table("ipAddress"), table("instance"), address.instance_id == instance.id)
        .where(
            address.network_id.in_([each.id for each in networks]),
            address.removed.is_(None),
            instance.removed.is_(None),
            sa.or_(instance.stack_id.is_(None), instance.stack_id.not_in(own_stacks)),
        )
        .limit(1)
    )
    for row in await store.rows(statement):
        return await store.get("instance", int(row.id))
    return None
