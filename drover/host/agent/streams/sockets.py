"""Raw sockets as streams of base64: the Docker engine's own socket, and the console of a virtual machine."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from pathlib import Path

from drover.host.agent.engine import Engine
from drover.host.agent.errors import AgentError
from drover.host.agent.streams.claims import StreamClaims
from drover.host.agent.streams.multiplex import Stream

CHUNK = 16 * 1024
CONSOLE_FOLDER = Path("/var/lib/rancher/vm")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


async def serve_docker_socket(stream: Stream, engine: Engine) -> None:
    if engine.socket_path is None:
        raise AgentError("this agent reaches its engine over TCP, so there is no Docker socket to pass on")
    await relay(stream, engine.socket_path)


async def serve_console(stream: Stream, claims: StreamClaims) -> None:
    name = claims.console.container
    if not _NAME.fullmatch(name):
        raise AgentError("the token names no virtual machine")
    await relay(stream, str(CONSOLE_FOLDER / name / "vnc"))


async def relay(stream: Stream, path: str) -> None:
    """Copies both ways until the socket is closed."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise AgentError(f"cannot open {path}: {error.strerror}") from error
    feeding = asyncio.create_task(_feed(stream, writer))
    try:
        while data := await reader.read(CHUNK):
            await stream.send(base64.b64encode(data).decode())
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        writer.close()


async def _feed(stream: Stream, writer: asyncio.StreamWriter) -> None:
    async for text in stream.messages():
        try:
            writer.write(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            # The other end speaks another protocol: nothing sensible can follow.
            break
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
