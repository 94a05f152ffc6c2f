from __future__ import annotations

import pytest

from drover.server.lifecycle import Done, Engine, Handlers, Run, Watch
from drover.server.lifecycle.engine import CHAIN_TO
from drover.server.store import Store

pytestmark = pytest.mark.anyio


async def test_whoever_schedules_a_process_may_name_its_successor(
    store: Store, engine: Engine, handlers: Handlers
) -> None:
    removed: list[dict[str, object]] = []

    @handlers.handles("host.remove")
    async def remove(run: Run) -> Done:
        removed.append(run.data)
        return Done()

    changes = store.changes()
    host = changes.insert("host", {"kind": "host", "state": "active", "accountId": 5})
    engine.schedule(changes, "host.deactivate", host, {CHAIN_TO: "host.remove"})
    await store.commit(changes)
    await Watch(store).until("host", host.id, lambda row: row is not None and row.state == "removed", timeout=60)
    assert removed == [{}]
