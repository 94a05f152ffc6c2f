"""Waiting for resources to reach a goal.

One subscription serves any number of waits. Events make the wait end within moments of the change; a full read at
every (re)connection and every few seconds makes it correct when events are lost or the WebSocket is not available
at all (proxies that refuse upgrades). What an event tells may be older than the action that is waited for, so an event
ends no wait by itself: the resource is read once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from drover.client.errors import ClientError, NotFound, TransitionFailed, WaitTimeout
from drover.client.resource import Resource
from drover.client.subscribe import Resync, Subscription

Goal = Callable[[Resource], bool]

REREAD_SECONDS = 10.0
# Without events the client must ask; a second is what a person notices and a server does not.
POLL_SECONDS = 1.0


def settled(resource: Resource) -> bool:
    """No process is running: the resource is in a final state."""
    return not resource.transitioning


def in_state(*states: str) -> Goal:
    """Settled in one of the states; a health state (`healthy`) counts as one."""

    def reached(resource: Resource) -> bool:
        return settled(resource) and (resource.state in states or resource.health_state in states)

    return reached


def removed(resource: Resource) -> bool:
    """The resource no longer exists."""
    return resource.gone


def _is_over(resource: Resource, goal: Goal) -> bool:
    return goal(resource) or resource.gone or resource.failed


class Reader(Protocol):
    """What a watcher needs of a client."""

    def subscribe(self) -> Subscription: ...

    async def refresh(self, resource: Resource) -> Resource: ...


class Watcher:
    """Follows resources over one subscription. Use as an async context manager."""

    def __init__(self, reader: Reader, *, on_change: Callable[[Resource], None] | None = None) -> None:
        self._reader = reader
        self._on_change = on_change
        self._awaited: dict[str, set[asyncio.Queue[Resource | None]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._live = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._receive(), name="watch resources")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def until(self, resource: Resource, goal: Goal = settled, *, timeout: float = 600.0) -> Resource:
        """Wait until `goal` holds; the resource as it is then.

        A resource that disappears ends the wait: well for a goal such as `removed`, else with NotFound. Raises
        TransitionFailed as soon as the server reports an error, WaitTimeout after `timeout` seconds.
        """
        latest = resource
        changes: asyncio.Queue[Resource | None] = asyncio.Queue()
        self._awaited.setdefault(resource.id, set()).add(changes)
        try:
            async with asyncio.timeout(timeout):
                while not _is_over(latest := await self._refresh(latest), goal):
                    while not _is_over(told := await self._next(changes, latest), goal):
                        latest = told
                if latest.failed and not latest.gone:
                    raise TransitionFailed(latest)
                if not goal(latest):
                    raise NotFound(404, "Gone", message=f"{latest.label} was removed while waiting for it")
                return latest
        except TimeoutError:
            state = latest.transitioning_message or latest.state
            raise WaitTimeout(f"{latest.label} is still {state!r} after {timeout:g} seconds", latest) from None
        finally:
            waiting = self._awaited[resource.id]
            waiting.discard(changes)
            if not waiting:
                del self._awaited[resource.id]

    async def _next(self, changes: asyncio.Queue[Resource | None], latest: Resource) -> Resource:
        pause = REREAD_SECONDS if self._live else POLL_SECONDS
        try:
            async with asyncio.timeout(pause):
                changed = await changes.get()
        except TimeoutError:
            return await self._refresh(latest)
        return changed if changed is not None else await self._refresh(latest)

    async def _refresh(self, resource: Resource) -> Resource:
        try:
            current = await self._reader.refresh(resource)
        except NotFound:
            return Resource({**resource.fields, "state": "purged", "transitioning": "no"})
        self._show(current)
        return current

    async def _receive(self) -> None:
        try:
            async for event in self._reader.subscribe():
                if isinstance(event, Resync):
                    self._live = True
                    self._announce_resync()
                elif (resource := event.resource) is not None:
                    self._announce(resource)
        except ClientError:
            # The waits go on by reading, which meets the same trouble and reports it to its caller.
            self._live = False
            self._announce_resync()

    def _announce(self, resource: Resource) -> None:
        waiting = self._awaited.get(resource.id)
        if not waiting:
            return
        self._show(resource)
        for changes in waiting:
            changes.put_nowait(resource)

    def _announce_resync(self) -> None:
        for waiting in self._awaited.values():
            for changes in waiting:
                changes.put_nowait(None)

    def _show(self, resource: Resource) -> None:
        if self._on_change is not None:
            self._on_change(resource)
