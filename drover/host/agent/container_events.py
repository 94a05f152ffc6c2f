"""Tells the server what happens to containers behind its back.

Each container has at most one unsent event: a newer one takes its place, because the server reconciles from the
latest state. So a container that restarts in a loop costs one request at a time, and memory is bounded by the
number of containers.

What the agent does at the server's request is not news. The operations announce what they are about to cause,
and those events are left out; everything else is posted, at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.client.events import ContainerEvent
from drover.host.agent.engine import Engine
from drover.host.agent.parameters.names import LABEL_AGENT_TASK, LABEL_UUID
from drover.host.agent.watcher import ContainerChange

log = structlog.get_logger(__name__)

Post = Callable[[ContainerEvent], Awaitable[None]]

WORKERS = 10
MAX_PENDING = 10_000
EXPECTATION_SECONDS = 15.0
_EMPTY_INSPECT = msgspec.Raw(b"{}")


class Expectations:
    """Events that the agent is causing itself: (container, action) pairs, each good for one event."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def expect(self, container: str, *actions: str) -> None:
        """Call before the operation. Unused expectations lapse, so that a later real event is not lost."""
        deadline = self._now() + EXPECTATION_SECONDS
        for action in actions:
            self._until[container, action] = deadline
            self._until.move_to_end((container, action))
        while self._until and next(iter(self._until.values())) < self._now():
            self._until.popitem(last=False)

    def withdraw(self, container: str, *actions: str) -> None:
        """The operation failed: what happens now is news."""
        for action in actions:
            self._until.pop((container, action), None)

    def meets(self, change: ContainerChange) -> bool:
        deadline = self._until.pop((change.id, change.action), None)
        return deadline is not None and deadline >= self._now()


class ContainerEventReporter:
    """Posts container events, newest state first come first served, with a few workers."""

    def __init__(self, engine: Engine, post: Post, *, host_uuid: str, expectations: Expectations) -> None:
        self._engine = engine
        self._post = post
        self._host_uuid = host_uuid
        self._expectations = expectations
        self._pending: OrderedDict[str, ContainerChange] = OrderedDict()
        self._busy: set[str] = set()
        self._stopped: OrderedDict[str, None] = OrderedDict()
        self._wake = asyncio.Event()

    def offer(self, change: ContainerChange) -> None:
        """Takes an event from the watcher; never blocks."""
        if LABEL_AGENT_TASK in change.labels:
            return
        expected, repeated = self._expectations.meets(change), self._says_nothing_new(change)
        if expected or repeated:
            return
        self._pending.pop(change.id, None)
        self._pending[change.id] = change
        if len(self._pending) > MAX_PENDING:
            dropped, _ = self._pending.popitem(last=False)
            log.warning("container.event.dropped", container=dropped, pending=MAX_PENDING)
        self._wake.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"container-events-{number}")

    def _says_nothing_new(self, change: ContainerChange) -> bool:
        """`docker stop` gives both die and stop: one of them is enough."""
        if change.action in ("die", "stop"):
            if change.id in self._stopped:
                return True
            self._stopped[change.id] = None
            if len(self._stopped) > MAX_PENDING:
                self._stopped.popitem(last=False)
        else:
            self._stopped.pop(change.id, None)
        return False

    async def _work(self) -> None:
        while True:
            change = self._take()
            if change is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._report(change)
            finally:
                self._busy.discard(change.id)
                self._wake.set()

    def _take(self) -> ContainerChange | None:
        """The oldest event of a container that no other worker is reporting, so order is kept."""
        for container, change in self._pending.items():
            if container not in self._busy:
                del self._pending[container]
                self._busy.add(container)
                return change
        return None

    async def _report(self, change: ContainerChange) -> None:
        event = ContainerEvent(
            external_status=change.action,
            external_id=change.id,
            external_from=change.image,
            external_timestamp=change.time or int(time.time()),
            reported_host_uuid=self._host_uuid,
        )
        if LABEL_UUID in change.labels:
            # Created for the server, which needs no more than the label that says for which instance.
            event.docker_inspect = _labels_only(change)
        else:
            event.docker_inspect = await self._inspect(change.id)
        await self._post(event)

    async def _inspect(self, container: str) -> msgspec.Raw:
        try:
            return await self._engine.inspect_container_raw(container)
        except DockerError as error:
            if error.status != 404:
                log.warning("container.inspect.failed", container=container, error=error.message)
            return _EMPTY_INSPECT


def _labels_only(change: ContainerChange) -> msgspec.Raw:
    """An inspect with just what identifies the container: known from the event, without a call."""
    inspect = {"Id": change.id, "Config": {"Image": change.image, "Labels": dict(change.labels)}}
    return msgspec.Raw(msgspec.json.encode(inspect))
