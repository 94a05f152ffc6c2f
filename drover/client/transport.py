"""HTTP to one server: one connection pool, one place where credentials are added and errors become typed.

Reads are repeated when the connection breaks, and every request is repeated for a while when the server answers
409 `Conflict`: that answer means "another change of this resource is under way", which ends by itself.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from drover.client.errors import ApiError, ClientError, Conflict, ConnectionFailed, error_from_body
from drover.common.backoff import Backoff

DEFAULT_TIMEOUT = 30.0
MAX_BODY = 64 * 1024 * 1024

_READ_ATTEMPTS = 4
_CONFLICT_ATTEMPTS = 8

Tracer = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key (`access_key`, `secret_key`) or a login token; without either the request is anonymous."""

    access_key: str | None = None
    secret_key: str | None = None
    token: str | None = None

    def header(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.access_key is not None:
            pair = f"{self.access_key}:{self.secret_key or ''}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
        return {}

    def __repr__(self) -> str:
        kind = "token" if self.token else f"key {self.access_key}" if self.access_key else "none"
        return f"Credentials({kind})"


class Transport:
    """Requests with JSON bodies. Use as an async context manager; closing it closes all connections."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        user_agent: str = "drover",
        trace: Tracer | None = None,
    ) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._user_agent = user_agent
        self._trace = trace
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers={"Accept": "application/json", "User-Agent": self._user_agent},
            timeout=aiohttp.ClientTimeout(total=self._timeout, connect=min(10.0, self._timeout)),
            connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ClientError("the client is not open: use `async with ApiClient(...) as client`")
        return self._session

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        has_body: bool = False,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The decoded JSON answer; None for an empty one.

        `has_body` sends `body` even when it is None (JSON `null`). Raises ApiError or ConnectionFailed.
        """
        backoff = Backoff(initial=0.1, maximum=2.0)
        while True:
            try:
                return await self._once(method, url, body, has_body or body is not None, headers)
            except Conflict as conflict:
                if conflict.code != "Conflict" or backoff.failures + 1 >= _CONFLICT_ATTEMPTS:
                    raise
            except ConnectionFailed:
                if method != "GET" or backoff.failures + 1 >= _READ_ATTEMPTS:
                    raise
            await asyncio.sleep(backoff.next_delay())

    async def download(self, url: str) -> bytes:
        """The raw bytes behind a link (archives, scripts)."""
        try:
            async with self.session.get(url, headers=self._credentials.header(), allow_redirects=False) as answer:
                data = await self._read(answer)
                if answer.status >= 300:
                    raise self._error("GET", url, answer, data)
                return data
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._connection_failed(url, error) from error

    async def open_websocket(
        self, url: str, *, authenticate: bool = True, silence: float | None = None
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket. `silence` is how many seconds may pass without a message before a receive fails."""
        headers = self._credentials.header() if authenticate else {}
        self._note(f"> WebSocket {_path(url)}")
        try:
            # Not asyncio.wait_for: in Python 3.11 it swallows a cancellation that meets the end of the wait.
            async with asyncio.timeout(self._timeout):
                socket = await self.session.ws_connect(
                    url,
                    headers=headers,
                    max_msg_size=MAX_BODY,
                    timeout=aiohttp.ClientWSTimeout(ws_receive=silence, ws_close=5.0),
                    autoping=True,
                )
            self._note("< 101")
            return socket
        except aiohttp.WSServerHandshakeError as error:
            refused = {"message": "the server refused the WebSocket"}
            raise error_from_body(error.status, "", refused, request=f"WebSocket {_path(url)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._connection_failed(url, error) from error

    async def _once(self, method: str, url: str, body: Any, has_body: bool, headers: dict[str, str] | None) -> Any:
        data = msgspec.json.encode(body) if has_body else None
        sent = {**self._credentials.header(), **(headers or {})}
        if has_body:
            sent["Content-Type"] = "application/json"
        self._note(f"> {method} {url}")
        try:
            async with self.session.request(method, url, data=data, headers=sent, allow_redirects=False) as answer:
                received = await self._read(answer)
                self._note(f"< {answer.status} {len(received)} bytes")
                if answer.status >= 300:
                    raise self._error(method, url, answer, received)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._connection_failed(url, error) from error
        if not received.strip():
            return None
        try:
            return msgspec.json.decode(received)
        except msgspec.DecodeError as error:
            raise ClientError(f"{url} did not answer with JSON: is it the address of an API server?") from error

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_chunked(1 << 16):
            size += len(chunk)
            if size > MAX_BODY:
                raise ClientError(f"the answer of {answer.url} is larger than {MAX_BODY >> 20} MiB")
            chunks.append(chunk)
        return b"".join(chunks)

    def _error(self, method: str, url: str, answer: aiohttp.ClientResponse, data: bytes) -> ApiError:
        try:
            body = msgspec.json.decode(data)
        except msgspec.DecodeError:
            body = None
        if 300 <= answer.status < 400 and body is None:
            target = answer.headers.get("Location", "nowhere")
            body = {"message": f"the server redirects to {target}: use that address as the server's URL"}
        return error_from_body(answer.status, answer.reason or "", body, request=f"{method} {_path(url)}")

    def _connection_failed(self, url: str, error: BaseException) -> ConnectionFailed:
        if isinstance(error, TimeoutError):
            return ConnectionFailed(f"no answer from {url} within {self._timeout:g} seconds")
        return ConnectionFailed(f"cannot reach {url}: {error or type(error).__name__}")

    def _note(self, text: str) -> None:
        if self._trace is not None:
            self._trace(text)


def _path(url: str) -> str:
    """The address without host and query: queries of stream addresses carry tokens."""
    return "/" + url.split("://", 1)[-1].partition("/")[2].partition("?")[0]
