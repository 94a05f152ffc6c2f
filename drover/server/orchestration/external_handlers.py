"""Processes that programs outside the server take part in.

Whoever registers an ``externalHandler`` for a process hears of every run of it as an event
(``<process>;handler=<name>``) and the process waits for the reply; progress keeps it waiting, an error fails the
attempt. Source of names, payloads and the treatment of errors: Rancher 1.6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from drover.server.bus import Bus, Event, NoAnswer, Refused
from drover.server.lifecycle import Again, Chain, Delegate, Done, Engine, Handlers, Outcome, Run
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.mirror import Mirror
from drover.server.resources import catalog
from drover.server.store import Record

log = structlog.get_logger(__name__)

_DEFAULT_SECONDS = 45.0
_RETRY_SECONDS = 2.0
# The original did this work in such a program; while one is there, the server leaves it to it.
_REPLACED = frozenset({"stack.create", "stack.upgrade", "stack.finishupgrade", "stack.rollback"})
_OLD_NAMES = {"environment.": "stack."}


@dataclass(frozen=True, slots=True)
class _Subscription:
    """One handler's interest in one process."""

    handler: str
    event: str
    priority: int
    attempts: int
    seconds: float
    on_error: str | None


class ExternalHandlers:
    """Asks the registered programs before the server's own handler runs."""

    def __init__(self, context: Context, background: Background) -> None:
        self._bus: Bus = context.bus
        self._engine: Engine = context.engine
        self._store = context.store
        self._background = background
        self._handlers = Mirror(context.store, "externalHandler", lambda record: record.state == "active")
        self._by_process: dict[str, list[_Subscription]] | None = None
        self._handlers.on_change(lambda before, after: self._forget())
        context.engine.add_hook(self.ask)

    def register(self, handlers: Handlers) -> None:
        handlers.register("externalhandler.create", _activate)

    async def ask(self, run: Run) -> Outcome | None:
        """The engine's hook."""
        await self._handlers.ready()
        subscriptions = self._subscriptions().get(run.process.name)
        if not subscriptions:
            return None
        values: dict[str, Any] = {}
        for subscription in subscriptions:
            try:
                reply = await self._request(run, subscription)
            except Refused as error:
                return self._failed(run, subscription, str(error))
            except NoAnswer:
                return Again(_RETRY_SECONDS, f"{subscription.handler} does not answer")
            values.update(_result(reply, run.record))
        if run.process.name in _REPLACED:
            return Done(values)
        if values:
            await run.apply(values)
        return None

    async def _request(self, run: Run, subscription: _Subscription) -> Event:
        topic = f"{subscription.event};handler={subscription.handler}"
        for attempt in range(1, subscription.attempts + 1):
            event = Event(
                name=topic,
                resource_type=run.record.type,
                resource_id=f"{catalog().resource(run.record.type).id_prefix}{run.record.id}",
                data=dict(run.data),
            )
            try:
                return await self._bus.request(
                    event, timeout=subscription.seconds, on_progress=lambda progress: self._show(run, progress)
                )
            except NoAnswer:
                if attempt == subscription.attempts:
                    raise
        raise AssertionError("a handler is asked at least once")

    def _show(self, run: Run, progress: Event) -> None:
        changes = run.plan()
        shown = {
            "transitioningMessage": progress.transitioning_message,
            "transitioningProgress": progress.transitioning_progress,
        }
        run.record = changes.update(run.record, shown)
        self._background.commit(self._store, changes)

    def _failed(self, run: Run, subscription: _Subscription, message: str) -> Outcome:
        process = subscription.on_error
        if process and process in catalog().processes and self._engine.can_schedule(process, run.record):
            return Chain(process, {"transitioning": "error", "transitioningMessage": message})
        log.info("external_handler.refused", handler=subscription.handler, process=run.process.name, reason=message)
        return Again(min(120.0, _RETRY_SECONDS * 2 ** min(run.attempt, 6)), message)

    # Who listens to what

    def _forget(self) -> None:
        self._by_process = None

    def _subscriptions(self) -> Mapping[str, list[_Subscription]]:
        if self._by_process is None:
            found: dict[str, list[_Subscription]] = {}
            for handler in self._handlers:
                for process, subscription in _read(handler):
                    found.setdefault(process, []).append(subscription)
            for each in found.values():
                each.sort(key=lambda subscription: (-subscription.priority, subscription.handler))
            self._by_process = found
        return self._by_process


def _read(handler: Record) -> Iterator[tuple[str, _Subscription]]:
    """``processConfigs``: ``"a.create,a.remove:event"`` names processes, and perhaps another name for the event."""
    timeout = int(handler["timeoutMillis"] or 0) / 1000
    for config in handler["processConfigs"] or []:
        names, _, event = str(config.get("name") or "").partition(":")
        for name in filter(None, (each.strip() for each in names.split(","))):
            process = _present_name(name)
            yield (
                process,
                _Subscription(
                    handler=str(handler.name),
                    event=event or name,
                    priority=int(handler["priority"] or 0),
                    attempts=max(1, int(handler["retries"] or 1)),
                    seconds=timeout or _DEFAULT_SECONDS,
                    on_error=_present_name(str(config.get("onError") or "")) or None,
                ),
            )


def _present_name(process: str) -> str:
    for old, new in _OLD_NAMES.items():
        if process.startswith(old):
            return new + process.removeprefix(old)
    return process


def _result(reply: Event, record: Record) -> dict[str, Any]:
    data = reply.data if isinstance(reply.data, dict) else {}
    inner = data.get(record.type)
    values = inner if isinstance(inner, dict) else data
    return {str(name): value for name, value in values.items() if not str(name).startswith("+") and name not in _OURS}


# What a program outside may not decide.
_OURS = frozenset({"id", "state", "accountId", "uuid", "kind", "removed", "removeTime", "created", "system"})


async def _activate(run: Run) -> Outcome:
    return Delegate()
