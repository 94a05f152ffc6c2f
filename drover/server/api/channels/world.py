"""The world as a WebSocket: ``GET /{version}/world``, everything first, then changes, as the hosts' programs need it.

Whoever follows is a host: the agent of the host itself, or that of its metadata container. It sees the environment it
belongs to and no other. The frames are the environment's; only the first one is the receiver's own, because it says on
which host it is (see ``drover.client.world``).

Frames are text messages. With ``encoding=deflate`` the whole and large changes come as binary messages instead, as raw
DEFLATE. Few wholes are on their way at a time, so that all hosts may come back at once without the server holding a
copy for each.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from drover.server.api.auth.revocations import Revocations
from drover.server.api.caller import Authenticator, Caller
from drover.server.api.channels.sockets import TRY_AGAIN_LATER, Ended, Sender, check_origin, close, refuse
from drover.server.api.errors import ApiError, forbidden
from drover.server.snapshot import Environment, Snapshots
from drover.server.snapshot.receivers import Receiver, Receivers

log = structlog.get_logger(__name__)

_WHOLES_AT_A_TIME = 4
_TURN_SECONDS = 5.0
_MOST_PER_AGENT = 3  # a reconnecting follower may be here before its old connection is found to be dead


class Wish(NamedTuple):
    """Where a follower says that it is, if anywhere, and whether it takes what is large compressed."""

    epoch: str
    revision: int
    deflate: bool


class WorldStream:
    """Serves the followers. A key that is taken away closes the sockets opened with it at once."""

    def __init__(
        self, snapshots: Snapshots, receivers: Receivers, authenticate: Authenticator, revocations: Revocations
    ) -> None:
        self._snapshots = snapshots
        self._receivers = receivers
        self._authenticate = authenticate
        self._revocations = revocations
        self._open: dict[int, list[asyncio.Task[None]]] = {}
        self._wholes = asyncio.Semaphore(_WHOLES_AT_A_TIME)

    async def endpoint(self, socket: WebSocket) -> None:
        """The route: ``/{version}/world?epoch=…&revision=…``."""
        try:
            check_origin(socket)
            caller = await self._admit(socket)
            receiver = await self._receivers.of_agent(caller.agent_id)
            if receiver is None:
                raise forbidden(
                    "The world is for hosts: use the keys of a host's agent, or of a running system container with the "
                    "label io.rancher.container.agent_service.metadata=true"
                )
            wish = _wish(socket)
        except ApiError as error:
            await refuse(socket, error)
            return
        await socket.accept()
        task = asyncio.create_task(self._serve(socket, receiver, wish))
        self._enter(receiver.agent_id, task)
        unwatch = self._revocations.watch(caller, lambda: _cancel(task))
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()
                raise
        finally:
            unwatch()
            self._leave(receiver.agent_id, task)

    def close_all(self) -> None:
        """The server stops: followers reconnect elsewhere, or here in a moment."""
        for tasks in self._open.values():
            for task in tasks:
                task.cancel()

    async def _admit(self, socket: WebSocket) -> Caller:
        caller = await self._authenticate(socket, type_name="world")
        if caller is None:
            raise ApiError(401, None, "Send the keys of a host's agent to follow its environment")
        return caller

    def _enter(self, agent_id: int, task: asyncio.Task[None]) -> None:
        tasks = self._open.setdefault(agent_id, [])
        tasks.append(task)
        if len(tasks) > _MOST_PER_AGENT:
            log.warning("world.too_many_connections", agent_id=agent_id, most=_MOST_PER_AGENT)
            tasks[0].cancel()

    def _leave(self, agent_id: int, task: asyncio.Task[None]) -> None:
        tasks = self._open[agent_id]
        tasks.remove(task)
        if not tasks:
            del self._open[agent_id]

    async def _serve(self, socket: WebSocket, receiver: Receiver, wish: Wish) -> None:
        sender = Sender(socket)
        try:
            async with self._snapshots.following(receiver.environment_id) as environment, asyncio.TaskGroup() as group:
                group.create_task(self._tell(sender, environment, receiver.host_uuid, wish))
                group.create_task(_notice_end(socket))
        except* (WebSocketDisconnect, Ended):
            pass  # the usual end: the follower went away
        finally:
            await close(socket, TRY_AGAIN_LATER)

    async def _tell(self, sender: Sender, environment: Environment, host: str | None, wish: Wish) -> None:
        """Send what the follower lacks, for ever. There is no queue: a slow one reads on from where it is."""
        frames = environment.frames
        if wish.epoch == frames.epoch and frames.knows(wish.revision):
            at = wish.revision
            await sender.send(frames.greeting(at, host))
        else:
            at = await self._send_whole(sender, environment, host, deflate=wish.deflate)
        while True:
            await environment.wait(at)
            if not frames.knows(at):
                log.info("world.follower_fell_behind", environment_id=environment.account_id, host=host)
                at = await self._send_whole(sender, environment, host, deflate=wish.deflate)
                continue
            missed, at = frames.since(at, deflate=wish.deflate), frames.revision
            for frame in missed:
                await sender.send(frame)

    async def _send_whole(self, sender: Sender, environment: Environment, host: str | None, *, deflate: bool) -> int:
        """Send everything; returns the revision that it is of."""
        async with self._turn():
            whole = environment.whole()
            await sender.send(await whole.deflated(host) if deflate else whole.text(host))
        return whole.revision

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the few places for sending a whole. Who reads too slowly does not keep the others from theirs."""
        await self._wholes.acquire()
        end = asyncio.get_running_loop().call_later(_TURN_SECONDS, self._wholes.release)
        try:
            yield
        finally:
            if asyncio.get_running_loop().time() < end.when():
                end.cancel()
                self._wholes.release()


async def _notice_end(socket: WebSocket) -> None:
    """Followers say nothing; reading shows when they leave."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise Ended


def _wish(socket: WebSocket) -> Wish:
    epoch, revision = socket.query_params.get("epoch", ""), socket.query_params.get("revision", "")
    if revision and (not revision.isascii() or not revision.isdigit() or len(revision) > 18):
        raise ApiError(400, None, "revision must be the number of the last frame that was received")
    encoding = socket.query_params.get("encoding", "")
    if encoding not in ("", "deflate"):
        raise ApiError(400, None, "encoding must be deflate, or be left out")
    return Wish(epoch if revision else "", int(revision or 0), encoding == "deflate")


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
