"""Which handler serves a stream, and who may open it.

The path decides, as in Rancher 1.6; the token's claims, not the path, say which container. Every stream but the
container proxy's is checked here, before a handler sees it; the proxy's requests come from the server itself.
"""

from __future__ import annotations

import re

import msgspec

from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.index import ContainerIndex
from drover.host.agent.stream_tokens import TokenVerifier
from drover.host.agent.streams.claims import StreamClaims
from drover.host.agent.streams.container_proxy import serve_container_proxy
from drover.host.agent.streams.container_stats import serve_container_stats
from drover.host.agent.streams.exec import serve_exec
from drover.host.agent.streams.host_stats import serve_host_stats
from drover.host.agent.streams.logs import serve_logs
from drover.host.agent.streams.multiplex import Stream
from drover.host.agent.streams.sockets import serve_console, serve_docker_socket

_PATH = re.compile(
    r"^/(?:v1|v2|v2-beta)/(logs|stats|hoststats|containerstats|exec|console|dockersocket|container-proxy)(?:/(.*))?$"
)


class StreamRouter:
    def __init__(self, engine: Engine, index: ContainerIndex, verifier: TokenVerifier) -> None:
        self._engine = engine
        self._index = index
        self._verifier = verifier

    async def serve(self, stream: Stream) -> None:
        """Serves one stream to its end. Raises AgentError (with what to tell the client) or DockerError."""
        match = _PATH.match(re.sub(r"/+", "/", stream.path))
        if match is None:
            raise AgentError(f"no stream is served at {stream.path}")
        kind, rest = match.group(1), (match.group(2) or "").strip("/")
        if kind == "container-proxy":
            await serve_container_proxy(stream)
            return
        claims = await self._claims(stream, statistics="stats" in kind)
        match kind:
            case "logs":
                await serve_logs(stream, self._engine, claims, self._container(claims.logs.container))
            case "exec":
                await serve_exec(stream, self._engine, claims, self._container(claims.exec.container))
            case "console":
                await serve_console(stream, claims)
            case "dockersocket":
                await serve_docker_socket(stream, self._engine)
            case "containerstats":
                if rest and claims.container_ids and rest not in claims.container_ids:
                    raise AgentError("the token is for another container")
                names = {rest: rest} if rest else claims.container_ids
                await serve_container_stats(stream, self._engine, names)
            case "stats" if rest:
                await serve_container_stats(stream, self._engine, {rest: rest})
            case _:
                await serve_host_stats(stream, resource_id=claims.resource_id)

    async def _claims(self, stream: Stream, *, statistics: bool) -> StreamClaims:
        raw = await self._verifier.verify(stream.token, this_host_only=not statistics)
        try:
            return msgspec.convert(raw, StreamClaims, strict=False)
        except msgspec.ValidationError as error:
            raise AgentError(f"the token's content is not understood: {error}") from error

    def _container(self, name: str) -> str:
        """Tokens name a container by its Docker id, or by the instance's uuid while that is not known."""
        if not name:
            raise AgentError("the token names no container: it is for another kind of stream")
        return self._index.resolve(name)
