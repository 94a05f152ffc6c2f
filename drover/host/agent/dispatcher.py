"""From a request to its one reply.

Requests of one resource run in the order they came; different resources run side by side. Queues have no limit,
because the server's own number of outstanding calls is the limit, and a dropped request would cost a time-out.

The server sends a request again, with the same id, when it missed the answer. A request that was answered gets
the stored answer; one that is still running gets a progress reply, which says "busy" and keeps the call alive.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.client.events import Reply, Request
from drover.common.clock import now_ms
from drover.host.agent.errors import AgentError
from drover.host.agent.images import Progress

log = structlog.get_logger(__name__)

Handler = Callable[[msgspec.Raw, Progress], Awaitable[dict[str, Any] | None]]
"""Takes the request's data; returns the reply's data, or None when the event has no reply."""

Send = Callable[[Reply], Awaitable[None]]

MAX_STORED = 4096
MAX_STORED_BYTES = 16 * 1024 * 1024
STORED_SECONDS = 600.0
MAX_MESSAGE = 4000
KEEP_ALIVE_SECONDS = 15.0
"""A third of the server's usual patience."""


class ReplyStore:
    """The last answers by request id: bounded in number, bytes and age."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._replies: OrderedDict[str, tuple[float, int, Reply]] = OrderedDict()
        self._bytes = 0

    def put(self, request_id: str, reply: Reply) -> None:
        # Kept as JSON: a decoded inspect takes several times the memory.
        data = reply.data if reply.data is msgspec.UNSET else msgspec.Raw(msgspec.json.encode(reply.data))
        size = 0 if data is msgspec.UNSET else len(bytes(data))
        self._drop(request_id)
        stored = msgspec.structs.replace(reply, data=data)
        self._replies[request_id] = (self._now() + STORED_SECONDS, size, stored)
        self._bytes += size
        while self._replies and self._too_much():
            self._drop(next(iter(self._replies)))

    def get(self, request_id: str) -> Reply | None:
        entry = self._replies.get(request_id)
        if entry is None:
            return None
        if entry[0] < self._now():
            self._drop(request_id)
            return None
        return entry[2]

    def __len__(self) -> int:
        return len(self._replies)

    def _too_much(self) -> bool:
        oldest_deadline = next(iter(self._replies.values()))[0]
        return len(self._replies) > MAX_STORED or self._bytes > MAX_STORED_BYTES or oldest_deadline < self._now()

    def _drop(self, request_id: str) -> None:
        entry = self._replies.pop(request_id, None)
        if entry is not None:
            self._bytes -= entry[1]


@dataclass(slots=True)
class _Queue:
    """The requests of one resource that wait for the one that runs."""

    waiting: deque[Request] = field(default_factory=deque)


class Dispatcher:
    """Runs handlers for requests. Use as an async context manager: leaving it ends what still runs."""

    def __init__(self, handlers: Mapping[str, Handler], send: Send, *, store: ReplyStore | None = None) -> None:
        self._handlers = handlers
        self._send = send
        self._store = store or ReplyStore()
        self._queues: dict[str, _Queue] = {}
        self._running: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False

    async def submit(self, request: Request) -> None:
        """Takes a request from the channel; returns at once, except for re-sending an answer."""
        if self._draining:
            # The agent is about to end; the server sends the request again to its successor.
            return
        if request.name not in self._handlers:
            log.debug("event.ignored", name=request.name)
            return
        if not request.id:
            # Without an id there is nothing to answer to and nothing to compare with.
            self._enqueue(request)
            return
        if (stored := self._store.get(request.id)) is not None:
            if _wants_reply(request):
                await self._send(msgspec.structs.replace(stored, name=request.reply_to or ""))
        elif (text := self._running.get(request.id)) is not None:
            if _wants_reply(request):
                await self._send(_progress_reply(request, text, None))
        else:
            self._running[request.id] = ""
            self._enqueue(request)

    @property
    def busy(self) -> int:
        """Resources with work under way."""
        return len(self._tasks)

    async def drain(self, timeout: float) -> None:
        """Takes nothing new and waits until nothing runs, at most `timeout` seconds; the rest is cancelled."""
        self._draining = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _enqueue(self, request: Request) -> None:
        key = _resource_key(request)
        queue = self._queues.get(key)
        if queue is not None:
            queue.waiting.append(request)
            return
        queue = self._queues[key] = _Queue(deque([request]))
        task = asyncio.create_task(self._serve(key, queue), name=f"requests {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, key: str, queue: _Queue) -> None:
        try:
            while queue.waiting:
                await self._answer(queue.waiting.popleft())
        finally:
            del self._queues[key]

    async def _answer(self, request: Request) -> None:
        keeping_alive = asyncio.create_task(self._keep_alive(request))
        try:
            reply = await self._run(request)
        finally:
            keeping_alive.cancel()
            self._running.pop(request.id, None)
        if reply is None or not _wants_reply(request):
            return
        if request.id:
            self._store.put(request.id, reply)
        await self._send(reply)

    async def _keep_alive(self, request: Request) -> None:
        """Work that takes long (a queue of starts, a slow stop) shows that it is still under way."""
        while _wants_reply(request):
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            await self._send(_progress_reply(request, self._running.get(request.id, ""), None))

    async def _run(self, request: Request) -> Reply | None:
        """The final reply; None for events that have none."""

        async def progress(text: str, percent: int | None) -> None:
            if request.id in self._running:
                self._running[request.id] = text
            if _wants_reply(request):
                await self._send(_progress_reply(request, text, percent))

        began = time.monotonic()
        try:
            data = await self._handlers[request.name](request.data, progress)
        except DockerError as error:
            return _failed(request, error.message)
        except AgentError as error:
            return _failed(request, str(error))
        except msgspec.ValidationError as error:
            return _failed(request, f"the agent does not understand the request: {error}")
        except Exception as error:
            log.exception("event.failed", name=request.name, resource=_resource_key(request))
            return _failed(request, f"the agent failed at {request.name}: {type(error).__name__}; see its log")
        log.debug(
            "event.done",
            name=request.name,
            resource=request.resource_id,
            millis=round((time.monotonic() - began) * 1000),
        )
        return None if data is None else _reply(request, data=data)


def _resource_key(request: Request) -> str:
    """What runs in order. Pings stay apart from other work on the agent: a slow update is no lost ping."""
    if request.resource_id is None:
        return f"request:{request.id or id(request)}"
    if request.name == "ping":
        return f"ping:{request.resource_id}"
    return f"{request.resource_type}:{request.resource_id}"


def _wants_reply(request: Request) -> bool:
    """Fire-and-forget events carry `<name>.reply`, a name that servers do not let agents publish."""
    return (request.reply_to or "").startswith("reply.")


def _reply(request: Request, **fields: Any) -> Reply:
    return Reply(
        name=request.reply_to or "",
        previous_ids=[request.id],
        resource_type=request.resource_type,
        resource_id=request.resource_id,
        time=now_ms(),
        **fields,
    )


def _failed(request: Request, message: str) -> Reply:
    log.warning("event.refused", name=request.name, resource=_resource_key(request), error=message[:500])
    return _reply(request, transitioning="error", transitioning_message=message[:MAX_MESSAGE])


def _progress_reply(request: Request, text: str, percent: int | None) -> Reply:
    return _reply(
        request,
        transitioning="yes",
        transitioning_message=text[:MAX_MESSAGE] or None,
        transitioning_progress=percent,
    )
