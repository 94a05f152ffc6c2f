"""Reading a service's digest from the database: three queries, however many containers there are."""

from __future__ import annotations

import sqlalchemy as sa

from drover.server.orchestration.services.digest import Digest
from drover.server.orchestration.services.spec import ServiceSpec, parse_service
from drover.server.resources.tables import table
from drover.server.store import Record, Store

# What the digest keeps of a container. The rest of the row (its JSON) is never read for planning.
_MEMBER_FIELDS = {
    "id": "id",
    "uuid": "uuid",
    "kind": "kind",
    "name": "name",
    "state": "state",
    "removed": "removed",
    "accountId": "account_id",
    "serviceId": "service_id",
    "stackId": "stack_id",
    "hostId": "host_id",
    "healthState": "health_state",
    "createIndex": "create_index",
    "version": "version",
    "deploymentUnitUuid": "deployment_unit_uuid",
    "startCount": "start_count",
    "serviceIndexId": "service_index_id",
    "externalId": "external_id",
    "system": "system",
    "nativeContainer": "native_container",
}


def narrow(record: Record) -> Record:
    """A container as the digest keeps it."""
    return Record(record.type, record.id, {name: record.values.get(name) for name in _MEMBER_FIELDS})


async def load_spec(store: Store, service_id: int) -> ServiceSpec | None:
    """The service as it is, or None when it (or its stack) is gone."""
    record = await store.get("service", service_id)
    if record is None or record["removed"] or record["stackId"] is None:
        return None
    stack = await store.get("stack", int(record["stackId"]))
    return None if stack is None else parse_service(record, stack)


async def load_digest(store: Store, spec: ServiceSpec) -> Digest:
    digest = Digest(spec)
    for exposure in await store.find_by("serviceExposeMap", serviceId=spec.id, removed=None):
        digest.see_exposure(exposure)
    for unit in await store.find_by("deploymentUnit", serviceId=spec.id, removed=None):
        digest.see_unit(unit)
    columns = table("instance").c
    selected = [columns[column] for column in _MEMBER_FIELDS.values()]
    statement = sa.select(*selected).where(columns.service_id == spec.id, columns.removed.is_(None))
    names = list(_MEMBER_FIELDS)
    for row in await store.rows(statement):
        values = dict(zip(names, row, strict=True))
        digest.see_instance(Record("instance", int(values["id"]), values))
    return digest
