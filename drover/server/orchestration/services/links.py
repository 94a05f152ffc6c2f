"""Links between services: rows that say who consumes whom, and under which name."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.store import Changes, Record


@dataclass(frozen=True, slots=True)
class Link:
    """A wanted link: to a service by id, or by a qualified name that may resolve elsewhere; ``alias`` may be empty."""

    service_id: int | None = None
    service: str | None = None
    alias: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (str(self.service_id) if self.service_id is not None else str(self.service), self.alias.lower())


async def links_of(context: Context, service: Record) -> list[Record]:
    """The links that a service has now."""
    return await context.store.find_by("serviceConsumeMap", serviceId=service.id, removed=None)


def plan_links(changes: Changes, service: Record, existing: Sequence[Record], wanted: Sequence[Link]) -> None:
    """Replace the links of a service: what is missing is added, what is not wanted goes, the rest stays untouched."""
    have = {_link(record).key: record for record in existing}
    want = {link.key: link for link in wanted}
    for key, record in have.items():
        if key not in want:
            plan_unlink(changes, record)
    for key, link in want.items():
        if key not in have:
            plan_link(changes, service, link)


def plan_link(changes: Changes, service: Record, link: Link) -> Record:
    return changes.insert(
        "serviceConsumeMap",
        {
            "kind": "serviceConsumeMap",
            "uuid": str(uuid.uuid4()),
            "accountId": service.account_id,
            "serviceId": service.id,
            "consumedServiceId": link.service_id,
            "consumedService": link.service,
            "name": link.alias or None,
            "state": "active",
            "created": now_ms(),
        },
    )


def plan_unlink(changes: Changes, record: Record) -> None:
    changes.update(record, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})


def _link(record: Record) -> Link:
    consumed = record["consumedServiceId"]
    return Link(None if consumed is None else int(consumed), record["consumedService"], str(record["name"] or ""))
