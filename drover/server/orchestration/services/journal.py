"""The service log: what the loop did for a service and why, as people read it.

One row a step and not a container, so that a scale-up of thousands is a dozen lines. Event types are those of
Rancher 1.6.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from drover.common.clock import now_ms
from drover.server.orchestration.services.spec import ServiceSpec
from drover.server.store import Changes

CREATED = "service.instance.create"
DELETED = "service.instance.delete"
STARTED = "service.instance.start"
TROUBLE = "service.trigger.exception"
INFO, ERROR = "info", "error"
_NAMED = 3


def plan_entry(
    changes: Changes,
    spec: ServiceSpec,
    event_type: str,
    description: str,
    *,
    level: str = INFO,
) -> None:
    changes.insert(
        "serviceLog",
        {
            "kind": "serviceLog",
            "accountId": spec.account_id,
            "serviceId": spec.id,
            "eventType": event_type,
            "description": description,
            "level": level,
            "transactionId": str(uuid.uuid4()),
            "subLog": False,
            "created": now_ms(),
            "endTime": now_ms(),
        },
    )


def named(what: str, names: Sequence[str]) -> str:
    """``Creating 12 containers: shop-web-1, shop-web-2, shop-web-3 and 9 more``."""
    shown = ", ".join(names[:_NAMED])
    rest = len(names) - _NAMED
    count = f"{len(names)} containers" if len(names) > 1 else "container"
    return f"{what} {count}: {shown} and {rest} more" if rest > 0 else f"{what} {count}: {shown}"
