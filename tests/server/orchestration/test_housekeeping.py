"""Timers, purging and clean-up."""

from __future__ import annotations

import pytest

from drover.common.clock import now_ms
from drover.server.lifecycle import Handlers
from drover.server.orchestration.durations import seconds
from drover.server.orchestration.housekeeping import BrokenContainers, Purging, TableCleanup
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.tasks import Tasks
from drover.server.store import Record, Store
from tests.server.orchestration.conftest import Platform

pytestmark = pytest.mark.anyio

HOUR = 3_600_000


async def insert(store: Store, type_name: str, **values: object) -> Record:
    changes = store.changes()
    record = changes.insert(type_name, values)
    await store.commit(changes)
    return record


async def test_removed_rows_are_purged_when_they_are_due(platform: Platform) -> None:
    purging = Purging(platform.context, Handlers())
    due = await insert(platform.store, "instance", state="removed", removed=1, removeTime=now_ms() - 1)
    later = await insert(platform.store, "instance", state="removed", removed=1, removeTime=now_ms() + HOUR)
    await purging.run_once()
    assert (await platform.reload(due)).state == "purged"
    assert (await platform.reload(later)).state == "removed"
    statements = platform.store.database.statements
    await purging.run_once()
    assert platform.store.database.statements == statements, "nothing is due, so nothing is asked"


async def test_a_purge_with_work_is_a_process(platform: Platform) -> None:
    handlers = Handlers()

    @handlers.handles("instance.purge")
    async def purge(run: object) -> None:
        return None

    purging = Purging(platform.context, handlers)
    row = await insert(platform.store, "instance", state="removed", removed=1, removeTime=1)
    await purging.run_once()
    await platform.until("instance", row.id, "purged")
    assert await platform.store.find_by("processInstance", processName="instance.purge")


async def test_old_history_is_deleted_and_young_history_stays(platform: Platform) -> None:
    old, young = now_ms() - 100 * 24 * HOUR, now_ms()
    gone = [
        await insert(platform.store, "processInstance", processName="x", endTime=old),
        await insert(platform.store, "containerEvent", created=old, state="created"),
        await insert(platform.store, "instance", state="purged", removed=old),
    ]
    kept = [
        await insert(platform.store, "processInstance", processName="x", endTime=young),
        await insert(platform.store, "processInstance", processName="x", startTime=old, endTime=None),
        await insert(platform.store, "instance", state="removed", removed=young),
        await insert(platform.store, "instance", state="running", created=old, removed=None),
    ]
    await TableCleanup(platform.context).run_once()
    for row in gone:
        assert await platform.store.get(row.type, row.id) is None
    for row in kept:
        assert await platform.store.get(row.type, row.id) is not None


async def test_containers_in_error_are_removed_after_a_while(platform: Platform) -> None:
    old = await insert(platform.store, "instance", kind="container", state="error", erroredAt=1, accountId=1)
    young = await insert(platform.store, "instance", kind="container", state="error", erroredAt=now_ms(), accountId=1)
    await BrokenContainers(platform.context).run_once()
    await platform.until("instance", old.id, "removed")
    assert (await platform.reload(young)).state == "error"


async def test_a_task_can_be_run_at_once_and_leaves_a_row(platform: Platform) -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    async def broken() -> None:
        raise RuntimeError("no luck")

    tasks = Tasks(platform.context)
    tasks.add("some.work", work)
    tasks.add("some.broken", broken)
    await tasks.execute("some.work")
    await tasks.execute("some.broken")
    assert ran == [1]
    (task,) = await platform.store.find_by("task", name="some.work")
    (kept,) = await platform.store.find_by("taskInstance", taskId=task.id)
    assert kept["exception"] is None
    (failed,) = await platform.store.find_by("taskInstance", name="some.broken")
    assert "Traceback" in failed["exception"]
    with pytest.raises(KeyError):
        await tasks.execute("unknown")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2", 2.0), ("0.05", 0.05), ("50ms", 0.05), ("3s", 3.0), ("nonsense", 5.0), ("", 5.0)],
)
async def test_durations(platform: Platform, text: str, expected: float) -> None:
    settings = Settings(platform.store, {"CATTLE_TASK_AGENT_PING_SCHEDULE": text})
    assert seconds(settings, "task.agent.ping.schedule") == expected


async def test_durations_in_milliseconds(platform: Platform) -> None:
    assert seconds(Settings(platform.store, {}), "eventing.timeout.millis") == 45.0
    assert seconds(Settings(platform.store, {}), "agent.activate.ping.timeout") == 2.0
