"""The declared types, one module a family; ``declare`` explains the words they are written in."""

from __future__ import annotations

from drover.server.resources.model import Resource
from drover.server.resources.types import (
    accounts,
    auth,
    balancing,
    credentials,
    engine,
    events,
    health,
    hosts,
    instances,
    launch,
    machines,
    network,
    objects,
    services,
    snapshots,
    stacks,
    storage,
    upgrades,
)

TYPES: tuple[Resource, ...] = (
    *accounts.TYPES,
    *auth.TYPES,
    *balancing.TYPES,
    *credentials.TYPES,
    *engine.TYPES,
    *events.TYPES,
    *health.TYPES,
    *hosts.TYPES,
    *instances.TYPES,
    *launch.TYPES,
    *machines.TYPES,
    *network.TYPES,
    *objects.TYPES,
    *services.TYPES,
    *snapshots.TYPES,
    *stacks.TYPES,
    *storage.TYPES,
    *upgrades.TYPES,
)
