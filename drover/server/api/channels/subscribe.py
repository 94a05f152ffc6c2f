"""The subscribe WebSocket, for people's clients and for agents.

Source of names, pings and the close of a session: Rancher 1.6. Beyond it, an agent that announces ``X-Drover-Channel``
may answer on the same socket (``{"publish": …}``), which saves a request per answer and keeps answers in order.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec
import structlog
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from drover.server.api.auth.revocations import Revocations
from drover.server.api.caller import Authenticator, Caller
from drover.server.api.channels.feeds import Feed, Feeds, Renderer, View
from drover.server.api.channels.sockets import NORMAL, TRY_AGAIN_LATER, Ended, Sender, check_origin, close, refuse
from drover.server.api.channels.wire import decode_frame, encode_event, logout_frame, ping_frame
from drover.server.api.errors import ApiError
from drover.server.bus import Bus, Event, NotAsked, Subscription
from drover.server.orchestration.settings import Settings

log = structlog.get_logger(__name__)

CHANNEL_HEADER = "x-drover-channel"
CHANNEL_VERSION = "1"
_EVENT_NAME = re.compile(r"^[*._0-9a-zA-Z;=-]{1,256}$")
_MOST_NAMES = 200
_AGENT_QUEUE = 100_000

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
            await refuse(socket, error)
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
        check_origin(socket)
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
        sender = Sender(socket)
        try:
            if caller.agent_id is not None:
                self._tell(caller, "agent.connected")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(sender))
                group.create_task(self._events(sender, subscription))
                if feed is not None:
                    group.create_task(self._changes(sender, feed))
                group.create_task(self._receive(socket, caller))
        except* (WebSocketDisconnect, Ended):
            pass  # the usual end: the client went away, or was asked to
        finally:
            subscription.close()
            if feed is not None:
                self._feeds.close(feed)
            if caller.agent_id is not None:
                self._tell(caller, "agent.disconnected")
            await close(socket, TRY_AGAIN_LATER if subscription.overflowed else NORMAL)

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

    async def _ping(self, sender: Sender) -> None:
        while True:
            await sender.send(ping_frame().decode())
            await asyncio.sleep(max(0.05, self._settings.seconds("api.sub.ping.interval.millis")))

    @staticmethod
    async def _events(sender: Sender, subscription: Subscription) -> None:
        while batch := await subscription.get_batch():
            for event in batch:
                if event.name.startswith("disconnect;"):
                    await sender.send(logout_frame().decode())
                    raise Ended
                await sender.send(encode_event(event).decode())
        raise Ended

    async def _changes(self, sender: Sender, feed: Feed) -> None:
        while True:
            for frame in await self._feeds.messages(await feed.take(), feed.view, self._render):
                await sender.send(frame.decode())

    async def _receive(self, socket: WebSocket, caller: Caller) -> None:
        """Agents answer here; what other clients say is not for us."""
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise Ended
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
