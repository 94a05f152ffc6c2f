"""Host labels have two sources, the agent and the user; neither may wipe out what the other said.

The labels that the agent reported last are remembered beside the labels in force. A new report changes what it says
differently from the last one: an edit by the user stays until the agent itself has news about that label.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from drover.common.clock import now_ms
from drover.server.store import Changes, Record, Store


def merge(current: Mapping[str, str], last: Mapping[str, str], reported: Mapping[str, str]) -> dict[str, str]:
    """The labels in force after a report. ``last`` is the report before."""
    news = {key: value for key, value in reported.items() if last.get(key) != value}
    merged = {**current, **news}
    for key, value in last.items():
        if key not in reported and merged.get(key) == value:
            del merged[key]
    return merged


async def plan_rows(
    store: Store, changes: Changes, host: Record, labels: Mapping[str, str], reported: Mapping[str, str]
) -> None:
    """Keep the label rows of a host in step with its labels."""
    rows = await store.find_by("label", accountId=host["accountId"], type="host", removed=None)
    existing = {str(row["key"]): row for row in rows if row["hostId"] == host.id}
    for key, row in existing.items():
        if labels.get(key) != row["value"]:
            changes.update(row, {"state": "removed", "removed": now_ms()})
    for key, value in labels.items():
        old = existing.get(key)
        if old is None or old["value"] != value:
            plan_row(changes, host, key, value, source="agent" if reported.get(key) == value else "user")


def plan_row(changes: Changes, host: Record, key: str, value: str, *, source: str) -> None:
    """One label of a host as a row; ``source`` is ``agent`` or ``user``."""
    changes.insert(
        "label",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "label",
            "state": "created",
            "created": now_ms(),
            "accountId": host["accountId"],
            "type": "host",
            "key": key,
            "value": value,
            "hostId": host.id,
            "source": source,
        },
    )
