"""The subscribe WebSocket, for people's clients and for agents.

Source of names, pings and the close of a session: Rancher 1.6. Beyond it, an agent that announces ``X-Drover-Channel``
may answer on the same socket (``{"publish": …}``), which saves a request per answer and keeps answers in order.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import structlog
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from drover.server.api.auth.revocations import Revocations
from drover.server.api.caller import Authenticator, Caller
from drover.server.api.channels.feeds import Feed, Feeds, Renderer, View
from drover.server.api.channels.wire import decode_frame, encode_event, logout_frame, ping_frame
from drover.server.api.errors import ApiError
from drover.server.bus import Bus, Event, NotAsked, Subscription
from drover.server.orchestration.settings import Settings

log = structlog.get_logger(__name__)

CHANNEL_HEADER = "x-drover-channel"
CHANNEL_VERSION = "1"
_EVENT_NAME = re.compile(r"^[*._0-9a-zA-Z;=-]{1,256}$")
_MOST_NAMES = 200
_SEND_SECONDS = 30.0
_AGENT_QUEUE = 100_000
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013

BaseUrl = Callable[[HTTPConnection], str]


class Subscriptions:
    """Serves subscribe WebSockets. A right that is taken away closes the sockets opened with it at once."""

    def __init__(
        self,
        *,
        bus: Bus,
        feeds: Feeds,
        settings: Settings,
        authenticate: Authenticator,
        render: Renderer,
        base_url: BaseUrl,
        revocations: Revocations,
    ) -> None:
        self._bus = bus
        self._feeds = feeds
        self._settings = settings
        self._authenticate = authenticate
        self._render = render
        self._base_url = base_url
        self._revocations = revocations
        self._open: set[asyncio.Task[None]] = set()
        self._channels: dict[int, asyncio.Task[None]] = {}

    async def endpoint(self, socket: WebSocket) -> None:
        """The route: ``/{version}/subscribe`` and ``/{version}/projects/{project}/subscribe``."""
        try:
            caller = await self._admit(socket)
            names = _names(socket, caller)
        except ApiError as error:
            await _refuse(socket, error)
            return
        agent = caller.agent_id is not None and CHANNEL_HEADER in socket.headers
        headers = [(CHANNEL_HEADER.encode(), CHANNEL_VERSION.encode())] if agent else []
        await socket.accept(headers=headers)
        task = asyncio.create_task(self._serve(socket, caller, names))
        self._open.add(task)
        if agent and caller.agent_id is not None:
            self._replace(caller.agent_id, task, socket)
        unwatch = self._revocations.watch(caller, lambda: _cancel(task))
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()
                raise
        finally:
            self._open.discard(task)
            if caller.agent_id is not None and self._channels.get(caller.agent_id) is task:
                del self._channels[caller.agent_id]
            unwatch()

    def _replace(self, agent_id: int, task: asyncio.Task[None], socket: WebSocket) -> None:
        """A host's agent has one channel: the newest. Two would carry out every command twice."""
        older = self._channels.get(agent_id)
        self._channels[agent_id] = task
        if older is not None and not older.done():
            log.warning(
                "agent.channel_replaced",
                agent_id=agent_id,
                by=socket.client.host if socket.client else None,
                advice="if this repeats, two machines share one identity: start one with --new-identity",
            )
            older.cancel()

    def close_all(self) -> None:
        """The server stops: clients reconnect elsewhere, or here in a moment."""
        for task in self._open:
            task.cancel()

    async def _admit(self, socket: WebSocket) -> Caller:
        _check_origin(socket)
        project = socket.path_params.get("project")
        caller = await self._authenticate(socket, project=project, type_name="subscribe")
        if caller is None:
            raise ApiError(401, None, "Log in first: subscribing needs an API key or a session")
        return caller

    async def _serve(self, socket: WebSocket, caller: Caller, names: list[str]) -> None:
        subscription = self._bus.subscribe(
            [*_topics(names, caller), f"disconnect;account={caller.account_id}"],
            capacity=_AGENT_QUEUE
            if caller.agent_id is not None
            else max(1, self._settings.int("subscribe.max.queued.messages")),
        )
        feed = self._feeds.open(self._view(socket, caller)) if _wants_changes(names, caller) else None
        sender = _Sender(socket)
        try:
            if caller.agent_id is not None:
                self._tell(caller, "agent.connected")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(sender))
                group.create_task(self._events(sender, subscription))
                if feed is not None:
                    group.create_task(self._changes(sender, feed))
                group.create_task(self._receive(socket, caller))
        except* (WebSocketDisconnect, _Ended):
            pass  # the usual end: the client went away, or was asked to
        finally:
            subscription.close()
            if feed is not None:
                self._feeds.close(feed)
            if caller.agent_id is not None:
                self._tell(caller, "agent.disconnected")
            await _close(socket, _TRY_AGAIN_LATER if subscription.overflowed else 1000)

    def _tell(self, caller: Caller, name: str) -> None:
        self._bus.publish(Event(name=name, resource_type="agent", resource_id=str(caller.agent_id)))

    def _view(self, socket: WebSocket, caller: Caller) -> View:
        return View(
            caller=caller,
            version=str(socket.path_params.get("version", "v2-beta")),
            base_url=self._base_url(socket),
            project=socket.path_params.get("project"),
            action_links=socket.query_params.get("_actionLinks") == "true",
        )

    async def _ping(self, sender: _Sender) -> None:
        while True:
            await sender.send(ping_frame())
            await asyncio.sleep(max(0.05, self._settings.seconds("api.sub.ping.interval.millis")))

    @staticmethod
    async def _events(sender: _Sender, subscription: Subscription) -> None:
        while batch := await subscription.get_batch():
            for event in batch:
                if event.name.startswith("disconnect;"):
                    await sender.send(logout_frame())
                    raise _Ended
                await sender.send(encode_event(event))
        raise _Ended

    async def _changes(self, sender: _Sender, feed: Feed) -> None:
        while True:
            for frame in await self._feeds.messages(await feed.take(), feed.view, self._render):
                await sender.send(frame)

    async def _receive(self, socket: WebSocket, caller: Caller) -> None:
        """Agents answer here; what other clients say is not for us."""
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise _Ended
            text = message.get("text") or message.get("bytes")
            if text and caller.agent_id is not None:
                self._answer(text, caller)

    def _answer(self, text: str | bytes, caller: Caller) -> None:
        try:
            event = decode_frame(text)
            self._bus.reply(event, sender=f"agent:{caller.agent_id}")
        except msgspec.DecodeError as error:
            log.warning("agent.bad_frame", agent_id=caller.agent_id, error=str(error))
        except NotAsked as error:
            log.debug("agent.late_reply", agent_id=caller.agent_id, reason=str(error))


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


class _Ended(Exception):
    """The subscription is over; nothing is wrong."""


class _Sender:
    """Sends one frame at a time, and gives up on a client that takes none for half a minute."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._lock = asyncio.Lock()

    async def send(self, frame: bytes) -> None:
        async with self._lock:
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await self._socket.send_text(frame.decode())
            except TimeoutError:
                raise _Ended from None
            except RuntimeError as closed:  # Starlette's word for a socket that is closed already
                raise _Ended from closed


def _names(socket: WebSocket, caller: Caller) -> list[str]:
    names = [name for name in socket.query_params.getlist("eventNames") if name]
    if not names:
        raise ApiError(400, None, "Say what to subscribe to, e.g. ?eventNames=resource.change")
    if len(names) > _MOST_NAMES or not all(_EVENT_NAME.match(name) for name in names):
        raise ApiError(400, None, f"eventNames: at most {_MOST_NAMES} names of letters, digits and . _ ; = -")
    return names


def _topics(names: list[str], caller: Caller) -> list[str]:
    if caller.raw_subscriptions and caller.agent_id is None:
        return names
    bare = [name.partition(";")[0] for name in names]
    if caller.agent_id is not None:
        return [f"{name};agent={caller.agent_id}" for name in bare]
    return [f"{name};account={caller.policy_account_id}" for name in bare]


def _wants_changes(names: list[str], caller: Caller) -> bool:
    return caller.agent_id is None and any(name.partition(";")[0] in ("resource.change", "*") for name in names)


def _check_origin(socket: WebSocket) -> None:
    """A page of another site must not ride on a browser's cookies (cross-site WebSocket hijacking)."""
    origin = socket.headers.get("origin")
    if origin is None:
        return
    if urlsplit(origin).netloc.lower() != socket.headers.get("host", "").lower():
        raise ApiError(403, None, f"WebSockets from {origin} are not accepted here")


async def _refuse(socket: WebSocket, error: ApiError) -> None:
    headers = dict(error.headers)
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(JSONResponse(error.body(), status_code=error.status, headers=headers))
    else:
        await socket.close(_POLICY_VIOLATION, error.message[:120])


async def _close(socket: WebSocket, code: int) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        try:
            await socket.close(code)
        except RuntimeError:
            return  # closed from the other side at the same moment
