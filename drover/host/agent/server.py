"""The server's HTTP API as the agent uses it: few calls, one keep-alive pool, one clock."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from drover.host.agent.errors import AgentError

CALL_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=15)
MAX_ANSWER = 16 * 1024 * 1024
CA_FILE = "etc/ssl/ca.crt"
KEYS_REFUSED = (
    "the server does not accept this agent's keys: if the host was removed there, "
    "run the registration command again to add it"
)


class WebSocket(aiohttp.ClientWebSocketResponse):
    """A WebSocket that remembers what the server said when it accepted the upgrade."""

    @property
    def upgrade_headers(self) -> Mapping[str, str]:
        return self._response.headers


class ServerError(AgentError):
    """The server answered with an error status, or not at all (status 0)."""

    def __init__(self, status: int, message: str, *, code: str = "", field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field


class _ErrorBody(msgspec.Struct, rename="camel"):
    code: str | None = None
    message: str | None = None
    detail: str | None = None
    field_name: str | None = None


class ServerClock:
    """The server's time, from its `Date` headers. A host with a wrong clock still judges tokens rightly."""

    def __init__(self) -> None:
        self.offset = 0.0
        """Seconds to add to the local time."""

    def learn(self, date_header: str | None, *, now: float | None = None) -> None:
        if not date_header:
            return
        try:
            server = parsedate_to_datetime(date_header).timestamp()
        except ValueError:
            return
        self.offset = server - (time.time() if now is None else now)

    def now(self) -> float:
        return time.time() + self.offset


class Server:
    """One server with one set of keys. `base` is the API base, for example `http://h:8080/v1`."""

    def __init__(
        self, session: aiohttp.ClientSession, base: str, *, user: str, password: str, clock: ServerClock
    ) -> None:
        self.session = session
        self.base = base.rstrip("/").removesuffix("/schemas")
        self.clock = clock
        self.headers = {"Authorization": _basic(user, password)}
        """Sent with every request, and with the WebSocket's upgrade."""

    def websocket_url(self, path: str) -> str:
        """`http…` becomes `ws…`."""
        return f"{self.base}/{path}".replace("http", "ws", 1)

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        return _json(await self._call("GET", path, params=params))

    async def get_text(self, path: str) -> str:
        return (await self._call("GET", path)).decode("utf-8", "replace")

    async def post(self, path: str, body: Any) -> Any:
        return _json(await self._call("POST", path, body=body))

    async def put(self, path: str, *, params: Mapping[str, str]) -> None:
        await self._call("PUT", path, params=params)

    async def _call(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None
    ) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        headers = {**self.headers, "Content-Type": "application/json", "Accept": "application/json"}
        url = f"{self.base}/{path}"
        try:
            async with self.session.request(
                method,
                url,
                params=params,
                data=data,
                headers=headers,
                timeout=CALL_TIMEOUT,
                allow_redirects=False,
            ) as response:
                self.clock.learn(response.headers.get("Date"))
                content = await read_body(response, MAX_ANSWER)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ServerError(0, f"cannot reach the server at {self.base}: {error or 'timeout'}") from error
        if response.status == 401:
            raise ServerError(401, KEYS_REFUSED)
        if response.status >= 300:
            raise _error(response.status, content, f"{method} {path}")
        return content


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body. Raises ClientPayloadError for one of more than `limit` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise aiohttp.ClientPayloadError(f"the answer is larger than {limit} bytes")
    return bytes(body)


def new_session(state_dir: Path) -> aiohttp.ClientSession:
    """HTTP for everything that goes to the server. Proxy variables count; a private CA is trusted."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=60, ssl=_tls(state_dir)),
        trust_env=True,
        timeout=CALL_TIMEOUT,
        headers={"User-Agent": "drover-agent"},
        ws_response_class=WebSocket,
    )


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _tls(state_dir: Path) -> ssl.SSLContext | bool:
    """The system's CAs, plus the server's own one when the operator put it on the host."""
    ca_file = state_dir.parent / CA_FILE
    if not ca_file.is_file():
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=str(ca_file))
    return context


def without_url(error: Exception) -> str:
    """An error as it may be logged: aiohttp quotes the URL of a failed upgrade, and with it the stream token."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{error.status} {error.message}"
    return str(error) or type(error).__name__


def api_root(url: str) -> str:
    """Scheme and host of a URL: what does not change between its API versions."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def _json(content: bytes) -> Any:
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise ServerError(0, f"the server's answer is not JSON: {error}") from error


def _error(status: int, content: bytes, call: str) -> ServerError:
    try:
        body = msgspec.json.decode(content, type=_ErrorBody)
    except msgspec.DecodeError:
        body = _ErrorBody()
    text = body.message or body.detail or body.code or "no reason given"
    return ServerError(
        status,
        f"the server refused {call} ({status}): {text}",
        code=body.code or "",
        field=body.field_name or "",
    )
