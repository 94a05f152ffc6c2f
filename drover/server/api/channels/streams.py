"""The proxy: a client's WebSocket on one side, a stream of a host's tunnel on the other.

A client that cannot reach a host reads its logs and opens a shell through here. The token decides everything: which
host, which container, which command; the path only has to match it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from drover.server.api.channels.tokens import StreamTokens
from drover.server.api.channels.tunnel import HostNotConnected, Stream, Tunnels
from drover.server.orchestration.host_api_keys import InvalidToken

log = structlog.get_logger(__name__)

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
_BINARY = "binary"
_REFUSALS = (InvalidToken, KeyError)

# Path below the version -> the claim that a token for it must carry (None: the host alone).
_SINGLE: Mapping[str, str | None] = {
    "logs": "logs",
    "exec": "exec",
    "console": "console",
    "dockersocket": "dockersocket",
    "stats": None,
    "hoststats": None,
    "containerstats": None,
}
_FAN_IN: Mapping[str, str] = {"hoststats/project": "project", "containerstats/service": "service"}


class StreamProxy:
    """Serves ``connectbackend`` for agents and the stream paths for clients."""

    def __init__(self, tokens: StreamTokens, tunnels: Tunnels) -> None:
        self._tokens = tokens
        self._tunnels = tunnels

    def routes(self) -> list[WebSocketRoute]:
        found: list[WebSocketRoute] = []
        for version in ("v1", "v2-beta", "v2"):
            found.append(WebSocketRoute(f"/{version}/connectbackend", self.backend))
            for name in _FAN_IN:
                found += [WebSocketRoute(f"/{version}/{name}{end}", self.fan_in) for end in ("", "/")]
            for name in _SINGLE:
                found += [WebSocketRoute(f"/{version}/{name}{end}", self.single) for end in ("", "/")]
            for name in ("stats", "containerstats"):
                found.append(WebSocketRoute(f"/{version}/{name}/{{id}}", self.single))
        return found

    async def backend(self, socket: WebSocket) -> None:
        """An agent opens its tunnel."""
        try:
            claims = self._tokens.read(_token(socket))
            host_uuid = str(claims["reportedUuid"])
        except _REFUSALS as error:
            await socket.close(_POLICY_VIOLATION, f"cannot open a tunnel: {error}"[:120])
            return
        await socket.accept()
        await self._tunnels.serve(host_uuid, socket)

    async def single(self, socket: WebSocket) -> None:
        """A client opens one stream to one host."""
        name = socket.url.path.strip("/").split("/")[1]
        try:
            claims = self._tokens.redeem(_token(socket))
            _check_claim(name, claims)
            host_uuid = str(claims["hostUuid"])
        except _REFUSALS as error:
            await socket.close(_POLICY_VIOLATION, f"Failed authentication: {error}"[:120])
            return
        try:
            stream = await self._tunnels.find(host_uuid).open(_uri(socket))
        except HostNotConnected:
            await socket.close(_TRY_AGAIN_LATER, "the host's agent is not connected")
            return
        binary = _BINARY in socket.scope.get("subprotocols", [])
        await socket.accept(subprotocol=_BINARY if binary else None)
        await _pump(socket, stream, binary=binary)

    async def fan_in(self, socket: WebSocket) -> None:
        """A client gets the statistics of many hosts or containers in one stream; a missing host is left out."""
        path = "/".join(socket.url.path.strip("/").split("/")[1:3])
        try:
            claims = self._tokens.redeem(_token(socket))
            inner: list[Mapping[str, str]] = claims[_FAN_IN[path]]
        except _REFUSALS as error:
            await socket.close(_POLICY_VIOLATION, f"Failed authentication: {error}"[:120])
            return
        streams: list[Stream] = []
        for each in inner:
            try:
                host = str(self._tokens.redeem(each["token"])["hostUuid"])
                streams.append(await self._tunnels.find(host).open(f"{each['url']}?token={each['token']}"))
            except (*_REFUSALS, HostNotConnected) as error:
                log.info("stream.host_left_out", reason=str(error))
        await socket.accept()
        await _gather(socket, streams)


def _token(socket: WebSocket) -> str:
    scheme, _, value = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.count(".") == 2:
        return value
    token = socket.query_params.get("token", "")
    if token.count(".") != 2:
        raise InvalidToken("no token given; an action such as logs or execute returns one with its URL")
    return token


def _check_claim(name: str, claims: Mapping[str, Any]) -> None:
    wanted = _SINGLE[name]
    if wanted is not None and wanted not in claims:
        raise InvalidToken(f"this token is not for {name}")
    if wanted is None and any(other in claims for other in ("exec", "logs", "console", "dockersocket", "proxy")):
        raise InvalidToken(f"this token is not for {name}")


def _uri(socket: WebSocket) -> str:
    return f"{socket.url.path}?{socket.url.query}"


async def _pump(socket: WebSocket, stream: Stream, *, binary: bool) -> None:
    async def to_client() -> None:
        async for body in stream:
            if binary:
                await socket.send_bytes(base64.b64decode(body))
            else:
                await socket.send_text(body)

    async def to_host() -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data: bytes | None = message.get("bytes")
            text: str | None = message.get("text")
            if data is not None:
                await stream.send(base64.b64encode(data).decode() if binary else data.decode())
            elif text is not None:
                await stream.send(text)

    await _until_first(to_client(), to_host())
    code, reason = (1000, "") if not stream.cut_off else (_POLICY_VIOLATION, "you read too slowly")
    await _close(socket, [stream], code, reason)


async def _gather(socket: WebSocket, streams: list[Stream]) -> None:
    async def to_client(stream: Stream) -> None:
        async for body in stream:
            await socket.send_text(body)

    async def all_to_client() -> None:
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(to_client(stream))

    async def until_gone() -> None:
        while (await socket.receive())["type"] != "websocket.disconnect":
            continue

    await _until_first(all_to_client(), until_gone())
    await _close(socket, streams, 1000, "")


async def _until_first(*coroutines: Any) -> None:
    """Run until one side has ended, then end the other. Losing either side is the normal end of a stream."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception) and not _expected(outcome):
                log.warning("stream.failed", error=repr(outcome))


def _expected(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_expected(each) for each in error.exceptions)
    return isinstance(
        error, WebSocketDisconnect | HostNotConnected | RuntimeError | binascii.Error | UnicodeDecodeError
    )


async def _close(socket: WebSocket, streams: list[Stream], code: int, reason: str) -> None:
    for stream in streams:
        try:
            await stream.close()
        except HostNotConnected:
            continue
    if socket.client_state is WebSocketState.CONNECTED and socket.application_state is WebSocketState.CONNECTED:
        try:
            await socket.close(code, reason)
        except RuntimeError:
            return  # the client closed at the same moment
