from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from drover.server.bus import Bus, Event
from drover.server.lifecycle import Engine, Handlers, Run, Watch
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.external_handlers import ExternalHandlers
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.store import Record, Store

pytestmark = pytest.mark.anyio

Answer = Callable[[Event], Event | None]


@pytest.fixture
async def context(store: Store, engine: Engine, handlers: Handlers) -> AsyncIterator[Context]:
    settings = Settings(store, environment={})
    context = Context(store, engine, Bus(), Watch(store), settings, Vault(bytes(32)))
    background = Background()
    ExternalHandlers(context, background).register(handlers)
    task = asyncio.create_task(background.run())
    yield context
    task.cancel()


async def register(context: Context, *, on_error: str | None = None, name: str = "stack.create") -> None:
    changes = context.store.changes()
    changes.insert(
        "externalHandler",
        {
            "name": "executor",
            "state": "active",
            "priority": 2000,
            "timeoutMillis": 1000,
            "processConfigs": [{"name": name, "onError": on_error}],
        },
    )
    await context.store.commit(changes)


async def create_stack(context: Context) -> Record:
    changes = context.store.changes()
    stack = changes.insert("stack", {"name": "s", "kind": "stack", "state": "requested", "accountId": 5})
    context.engine.schedule(changes, "stack.create", stack, {"given": 1})
    await context.store.commit(changes)
    return stack


async def serve(context: Context, topic: str, answer: Answer) -> None:
    async for event in context.bus.subscribe([topic]):
        reply = answer(event)
        if reply is not None:
            context.bus.reply(reply)


async def until(context: Context, record: Record, state: str) -> Record:
    found = await context.watch.until(record.type, record.id, lambda r: r is not None and r.state == state, timeout=60)
    assert found is not None
    return found


def reply_to(event: Event, **values: object) -> Event:
    return Event(name=str(event.reply_to), previous_ids=[event.id], **values)  # type: ignore[arg-type]


async def test_a_program_takes_part_and_its_reply_is_stored(context: Context) -> None:
    await register(context)
    heard: list[Event] = []

    def answer(event: Event) -> Event:
        heard.append(event)
        return reply_to(event, data={"stack": {"externalId": "x", "state": "hacked"}})

    task = asyncio.create_task(serve(context, "stack.create;handler=executor", answer))
    stack = await create_stack(context)
    active = await until(context, stack, "active")
    assert active["externalId"] == "x"
    assert (heard[0].resource_type, heard[0].resource_id, heard[0].data) == ("stack", f"1st{stack.id}", {"given": 1})
    task.cancel()


async def test_the_servers_own_work_is_left_to_the_program(context: Context, handlers: Handlers) -> None:
    ran: list[str] = []

    async def own(run: Run) -> None:
        ran.append(run.process.name)

    handlers.register("stack.create", own)
    await register(context)
    task = asyncio.create_task(serve(context, "stack.create;handler=executor", reply_to))
    await until(context, await create_stack(context), "active")
    assert ran == []
    task.cancel()


async def test_an_error_runs_the_process_named_for_it(context: Context) -> None:
    await register(context, on_error="stack.error")

    def answer(event: Event) -> Event:
        return reply_to(event, transitioning="error", transitioning_message="no such image")

    task = asyncio.create_task(serve(context, "stack.create;handler=executor", answer))
    failed = await until(context, await create_stack(context), "error")
    assert (failed["transitioning"], failed["transitioningMessage"]) == ("error", "no such image")
    task.cancel()


async def test_old_names_and_own_event_names_work(context: Context) -> None:
    await register(context, name="environment.create:my.event")
    task = asyncio.create_task(serve(context, "my.event;handler=executor", reply_to))
    await until(context, await create_stack(context), "active")
    task.cancel()


async def test_progress_is_shown(context: Context) -> None:
    await register(context)

    def answer(event: Event) -> Event | None:
        context.bus.reply(reply_to(event, transitioning="yes", transitioning_message="half way"))
        return None

    task = asyncio.create_task(serve(context, "stack.create;handler=executor", answer))
    stack = await create_stack(context)
    await context.watch.until(
        "stack", stack.id, lambda r: r is not None and r["transitioningMessage"] == "half way", timeout=5
    )
    task.cancel()
