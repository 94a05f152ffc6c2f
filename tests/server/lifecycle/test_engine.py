from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from drover.server.lifecycle import (
    Again,
    AlreadyRunning,
    Chain,
    Delegate,
    Done,
    Engine,
    Handlers,
    NotAllowed,
    Run,
    Watch,
)
from drover.server.resources import catalog
from drover.server.store import Record, Store
from tests.server.conftest import ALL_DATABASES, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_address", ALL_DATABASES, indirect=True)]


async def create_container(store: Store, engine: Engine, **values: Any) -> Record:
    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "requested", "accountId": 5, **values})
    engine.schedule(changes, "instance.create", record)
    await store.commit(changes)
    return record


async def until(watch: Watch, record: Record, state: str) -> Record:
    found = await watch.until(record.type, record.id, lambda r: r is not None and r.state == state, timeout=60)
    assert found is not None
    return found


async def test_create_delegates_to_start_in_one_record(store: Store, engine: Engine, handlers: Handlers) -> None:
    seen: list[str] = []

    @handlers.handles("instance.create")
    async def create(run: Run) -> Delegate:
        seen.append(run.record.state)
        return Delegate({"token": "t"})

    @handlers.handles("instance.start")
    async def start(run: Run) -> Done:
        seen.append(run.record.state)
        assert run.record["token"] == "t"
        return Done({"externalId": "abc", "startCount": 1})

    record = await create_container(store, engine)
    running = await until(Watch(store), record, "running")
    assert seen == ["creating", "starting"]
    assert running["externalId"] == "abc"
    process = await store.first("processInstance", resourceId=str(record.id))
    assert process is not None
    assert (process["processName"], process["result"], process["exitReason"]) == ("instance.start", "SUCCESS", "DONE")


async def test_the_client_sees_the_transitioning_state_at_once(store: Store, engine: Engine) -> None:
    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "requested", "accountId": 5})
    planned = engine.schedule(changes, "instance.create", record)
    assert planned.state == "creating"


async def test_chain_moves_on_in_the_same_commit(store: Store, engine: Engine, handlers: Handlers) -> None:
    @handlers.handles("instance.stop")
    async def stop(run: Run) -> Chain:
        return Chain("instance.remove", data={"why": "test"})

    got: list[dict[str, Any]] = []

    @handlers.handles("instance.remove")
    async def remove(run: Run) -> Done:
        got.append(run.data)
        return Done({"removed": 1})

    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "running", "accountId": 5})
    await store.commit(changes)
    changes = store.changes()
    engine.schedule(changes, "instance.stop", record, {"timeout": 3})
    await store.commit(changes)
    await until(Watch(store), record, "removed")
    assert got == [{"timeout": 3, "why": "test"}]


async def test_a_failing_handler_is_repeated_until_it_works(store: Store, engine: Engine, handlers: Handlers) -> None:
    attempts: list[int] = []

    @handlers.handles("stack.create")
    async def create(run: Run) -> Again | None:
        attempts.append(run.attempt)
        return Again(0.01, "not yet") if len(attempts) < 3 else None

    changes = store.changes()
    stack = changes.insert("stack", {"state": "requested", "accountId": 5, "name": "s"})
    engine.schedule(changes, "stack.create", stack)
    await store.commit(changes)
    active = await until(Watch(store), stack, "active")
    assert attempts == [1, 2, 3]
    assert active["transitioningMessage"] is None


async def test_stop_takes_over_from_a_hanging_start(store: Store, engine: Engine, handlers: Handlers) -> None:
    hanging = asyncio.Event()

    @handlers.handles("instance.start")
    async def start(run: Run) -> None:
        hanging.set()
        await asyncio.sleep(60)

    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "stopped", "accountId": 5})
    engine.schedule(changes, "instance.start", record)
    await store.commit(changes)
    await hanging.wait()
    changes = store.changes()
    engine.schedule(changes, "instance.stop", record.merged({"state": "starting"}))
    await store.commit(changes)
    await until(Watch(store), record, "stopped")
    first = await store.first("processInstance", processName="instance.start")
    assert first is not None
    assert first["result"] == "CANCELED"


async def test_states_that_do_not_allow_a_process_are_refused(store: Store, engine: Engine) -> None:
    record = Record("instance", 1, {"kind": "container", "state": "removed", "name": "x"})
    with pytest.raises(NotAllowed, match="container x is removed"):
        engine.schedule(store.changes(), "instance.start", record)
    with pytest.raises(AlreadyRunning):
        engine.schedule(store.changes(), "instance.start", record.merged({"state": "starting"}))


async def test_two_schedules_of_the_same_state_are_one(store: Store, engine: Engine) -> None:
    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "stopped", "accountId": 5})
    await store.commit(changes)

    async def start() -> bool:
        changes = store.changes()
        engine.schedule(changes, "instance.start", record)
        try:
            await store.commit(changes)
        except Exception:
            return False
        return True

    assert sorted(await asyncio.gather(start(), start(), start())) == [False, False, True]


async def test_an_open_process_is_resumed_after_a_crash(tmp_path: Path, database_address: str) -> None:
    store = await open_store(tmp_path, database_address)
    first = Engine(store, catalog().processes, Handlers(), server_id="first")
    changes = store.changes()
    record = changes.insert("instance", {"kind": "container", "state": "stopped", "accountId": 5})
    first.schedule(changes, "instance.start", record)
    changes.callbacks.clear()  # the crash: the plan is durable, nobody hears of it
    await store.commit(changes)
    second = Engine(store, catalog().processes, Handlers(), server_id="second")
    assert await second.recover() == 1
    await until(Watch(store), record, "running")
    await second.stop()
    await store.stop()


async def test_many_containers_share_their_statements(store: Store, engine: Engine, handlers: Handlers) -> None:
    @handlers.handles("instance.create")
    async def create(run: Run) -> Delegate:
        return Delegate()

    count = 500
    await store.ensure_ids("instance", count)
    await store.ensure_ids("processInstance", count)
    before = store.database.statements
    changes = store.changes()
    records = []
    for _ in range(count):
        record = changes.insert("instance", {"kind": "container", "state": "requested", "accountId": 5})
        engine.schedule(changes, "instance.create", record)
        records.append(record)
    await store.commit(changes)
    watch = Watch(store)
    await asyncio.gather(*(until(watch, record, "running") for record in records))
    assert (store.database.statements - before) / count < 0.5
