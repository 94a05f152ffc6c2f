"""Planning containers without reading anything: what whoever wants many of them at once works with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from drover.common.clock import now_ms
from drover.server.lifecycle import Engine
from drover.server.orchestration.context import Context
from drover.server.store import Changes, Record

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "kind": "container",
        "state": "requested",
        "allocationState": "inactive",
        "instanceTriggeredStop": "stop",
        "startCount": 0,
        "version": "0",
        "startOnCreate": True,
        "nativeContainer": False,
    }
)
_ACTIVE = frozenset({"creating", "running", "starting", "restarting", "updating-running", "updating-stopped"})


def plan_instance(context: Context, changes: Changes, values: Mapping[str, Any], **data: Any) -> Record:
    """Plan a container and the process that creates (and, unless ``startOnCreate`` is false, starts) it.

    ``values`` are the fields of the container by their API names and win over the defaults; ``data`` goes to the
    process. Await ``store.ensure_ids`` for ``instance`` and ``processInstance`` before planning more than a hundred.
    """
    given = {name: value for name, value in values.items() if value is not None}
    record = changes.insert("instance", {"uuid": str(uuid.uuid4()), "created": now_ms(), **DEFAULTS, **given})
    return context.engine.schedule(changes, "instance.create", record, data)


def plan_stop_and_remove(
    context: Context, changes: Changes, record: Record, data: Mapping[str, Any] | None = None
) -> Record:
    """Plan the removal of a container in whatever state it is: one that may be running is stopped first.

    ``data`` goes to the processes (``timeout``: seconds to stop). A container that is being stopped, removed or is
    removed already is left alone, so calling it twice does no harm.
    """
    values = dict(data or {})
    engine: Engine = context.engine
    if record.state in _ACTIVE and engine.can_schedule("instance.stop", record):
        return engine.schedule(changes, "instance.stop", record, {**values, "remove": True})
    if engine.can_schedule("instance.remove", record):
        return engine.schedule(changes, "instance.remove", record, values)
    if record.state == "stopping":
        return changes.update(record, {"instanceTriggeredStop": "remove"})
    return record
