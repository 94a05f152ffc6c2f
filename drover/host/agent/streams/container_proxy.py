"""HTTP to a container of this host, on behalf of a user of the server.

The server's proxy sends the request as JSON messages (`HTTPMessage`) and gets the response back the same way; an
upgraded connection (WebSocket) becomes a raw one. The address comes from the server, and the agent sits inside
the host's network: targets that are not containers but the host's own or its cloud's services are refused.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp
import msgspec

from drover.host.agent.errors import AgentError
from drover.host.agent.streams.multiplex import Stream

TIMEOUT = 60.0
CHUNK = 16 * 1024
MAX_HEAD = 256 * 1024

_CONNECTION_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
)
METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


class HttpMessage(msgspec.Struct, omit_defaults=True):
    """One message in either direction. `body` is base64; `eof` ends the body."""

    hijack: bool = False
    host: str = ""
    method: str = ""
    url: str = ""
    headers: dict[str, list[str]] = {}
    code: int = 0
    body: str = ""
    eof: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: the address is the one that was checked."""

    address: str
    port: int
    tls: bool
    host_header: str
    path: str


async def serve_container_proxy(stream: Stream) -> None:
    messages = stream.messages()
    head = await _next(messages)
    if head.method not in METHODS:
        raise AgentError(f"method {head.method!r} is not passed on")
    target = await resolve_target(head)
    if head.hijack:
        await _hijack(stream, messages, head, target)
    else:
        async with asyncio.timeout(TIMEOUT):
            await _request(stream, messages, head, target)


async def resolve_target(head: HttpMessage) -> Target:
    """Raises AgentError for an address that no container can have."""
    parts = urlsplit(head.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AgentError(f"{head.url!r} is not an address of a container")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, port, type=socket.SOCK_STREAM, family=socket.AF_INET
        )
    except OSError as error:
        raise AgentError(f"cannot resolve {parts.hostname}: {error.strerror}") from error
    address = str(found[0][4][0])
    if not may_be_container(address):
        raise AgentError(f"{parts.hostname} ({address}) is not an address of a container")
    path = parts.path or "/"
    return Target(
        address=address,
        port=port,
        tls=tls,
        host_header=head.host or parts.netloc,
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def may_be_container(address: str) -> bool:
    """Loopback and link-local (cloud metadata) belong to the host; the rest may be a container's."""
    ip = ipaddress.ip_address(address)
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


async def _request(stream: Stream, messages: AsyncIterator[str], head: HttpMessage, target: Target) -> None:
    headers = [
        (name, value)
        for name, values in head.headers.items()
        if name.lower() not in _CONNECTION_HEADERS
        for value in values
    ]
    url = f"{'https' if target.tls else 'http'}://{target.address}:{target.port}{target.path}"
    has_body = head.method in ("POST", "PUT", "PATCH", "DELETE")
    async with (
        aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.request(
            head.method,
            url,
            headers=[("Host", target.host_header), *headers],
            data=_bodies(head, messages) if has_body else None,
            ssl=False,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as response,
    ):
        answer = HttpMessage(code=response.status)
        for name, value in response.headers.items():
            if name.lower() not in _CONNECTION_HEADERS:
                answer.headers.setdefault(name, []).append(value)
        await _send(stream, answer)
        async for chunk in response.content.iter_chunked(CHUNK):
            await _send(stream, HttpMessage(body=base64.b64encode(chunk).decode()))
        await _send(stream, HttpMessage(eof=True))


async def _hijack(stream: Stream, messages: AsyncIterator[str], head: HttpMessage, target: Target) -> None:
    """A raw connection: what comes back is the response as the container wrote it, status line included."""
    context = _unverified_tls() if target.tls else None
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection(target.address, target.port, ssl=context)
    feeding: asyncio.Task[None] | None = None
    try:
        writer.write(_raw_head(head, target))
        feeding = asyncio.create_task(_feed(head, messages, writer))
        while data := await reader.read(CHUNK):
            await _send(stream, HttpMessage(body=base64.b64encode(data).decode()))
        await _send(stream, HttpMessage(eof=True))
    finally:
        if feeding is not None:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        writer.close()


def _raw_head(head: HttpMessage, target: Target) -> bytes:
    lines = [f"{head.method} {target.path} HTTP/1.1", f"Host: {target.host_header}"]
    for name, values in head.headers.items():
        if name.lower() != "host":
            lines += [f"{name}: {value}" for value in values]
    upgrades = any(
        name.lower() == "connection" and "upgrade" in value.lower()
        for name, values in head.headers.items()
        for value in values
    )
    if not upgrades:
        lines.append("Connection: close")
    if any("\r" in line or "\n" in line for line in lines):
        raise AgentError("a header of the request contains a line break")
    encoded = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    if len(encoded) > MAX_HEAD:
        raise AgentError("the request's headers are too large")
    return encoded


async def _feed(head: HttpMessage, messages: AsyncIterator[str], writer: asyncio.StreamWriter) -> None:
    async for chunk in _bodies(head, messages, ends=False):
        writer.write(chunk)
        await writer.drain()


async def _bodies(head: HttpMessage, messages: AsyncIterator[str], *, ends: bool = True) -> AsyncIterator[bytes]:
    """The request's body. A hijacked connection goes on after the body's end (`ends=False`)."""
    message = head
    while True:
        if message.body:
            yield base64.b64decode(message.body)
        if message.eof and ends:
            return
        text = await anext(messages, None)
        if text is None:
            return
        message = _decode(text)


async def _next(messages: AsyncIterator[str]) -> HttpMessage:
    async with asyncio.timeout(TIMEOUT):
        text = await anext(messages, None)
    if text is None:
        raise AgentError("the client went away before it sent its request")
    return _decode(text)


async def _send(stream: Stream, message: HttpMessage) -> None:
    await stream.send(msgspec.json.encode(message).decode())


def _decode(text: str) -> HttpMessage:
    try:
        return msgspec.json.decode(text, type=HttpMessage)
    except msgspec.DecodeError as error:
        raise AgentError(f"not an HTTP message: {error}") from error


def _unverified_tls() -> ssl.SSLContext:
    """Containers have no certificate that anybody could check: they are reached by address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
