"""What the network manager asks of the local Docker engine: lists, inspects, removals and the event stream."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from urllib.parse import quote

import aiohttp
import msgspec

API = "v1.24"
"""Old enough for every engine in use that still takes it; engines that dropped it are asked for their minimum."""

CALL_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
MAX_LINE = 4 * 1024 * 1024


class EngineError(Exception):
    """The engine refused or could not be reached; `status` is 0 when there was no answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class State(msgspec.Struct, frozen=True, rename="pascal"):
    running: bool = False
    pid: int = 0
    started_at: str = ""


class Config(msgspec.Struct, frozen=True, rename="pascal"):
    hostname: str = ""
    labels: dict[str, str] | None = None


class HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""
    dns_search: list[str] | None = None


class Mount(msgspec.Struct, frozen=True, rename="pascal"):
    destination: str = ""


class Inspect(msgspec.Struct, frozen=True, rename="pascal"):
    """One container; times are the engine's own text."""

    id: str
    name: str = ""
    created: str = ""
    state: State = State()
    config: Config = Config()
    host_config: HostConfig = HostConfig()
    hosts_path: str = ""
    resolv_conf_path: str = ""
    mounts: list[Mount] | None = None

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.labels or {}

    @property
    def up(self) -> bool:
        return self.state.running and self.state.pid > 0


class Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    state: str = ""
    labels: dict[str, str] | None = None
    created: int = 0

    @property
    def running(self) -> bool:
        return self.state in ("running", "paused")


class Actor(msgspec.Struct, frozen=True):
    id: str = msgspec.field(default="", name="ID")


class Event(msgspec.Struct, frozen=True):
    action: str = msgspec.field(default="", name="Action")
    actor: Actor = msgspec.field(default=Actor(), name="Actor")
    time_nano: int = msgspec.field(default=0, name="timeNano")


_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)$")
_INSPECT = msgspec.json.Decoder(Inspect)
_LISTED = msgspec.json.Decoder(list[Listed])
_EVENT = msgspec.json.Decoder(Event)


class Docker:
    """One engine behind a unix socket. Every call raises EngineError. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        if not url.startswith("unix://"):
            raise EngineError(f"the network manager works on its own host: {url} is no unix:// address")
        self._path = url.removeprefix("unix://")
        self._api = API
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Docker:
        connector = aiohttp.UnixConnector(self._path, limit=0, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(connector=connector, timeout=CALL_TIMEOUT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def pid(self) -> int:
        """The engine's process, or the one that opened its socket for it; either sees the engine's files."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(self._path)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    async def negotiate(self) -> None:
        """Learns which API version the engine still speaks."""
        versions = msgspec.json.decode(await self._bytes("GET", "/version"))
        lowest = str(versions.get("MinAPIVersion") or "1.24")
        self._api = f"v{lowest}" if _number(lowest) > _number(API[1:]) else API

    async def inspect(self, container: str) -> Inspect | None:
        """None when the engine does not know the container."""
        try:
            return _INSPECT.decode(await self._bytes("GET", f"/{self._api}/containers/{quote(container)}/json"))
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def containers(self) -> list[Listed]:
        """All containers, running or not."""
        return _LISTED.decode(await self._bytes("GET", f"/{self._api}/containers/json", params={"all": "1"}))

    async def remove(self, container: str) -> None:
        """Kills and removes; one that is gone already is fine."""
        try:
            await self._bytes("DELETE", f"/{self._api}/containers/{quote(container)}", params={"force": "1"})
        except EngineError as error:
            if error.status != 404:
                raise

    async def stop(self, container: str) -> None:
        try:
            await self._bytes("POST", f"/{self._api}/containers/{quote(container)}/stop", params={"t": "5"})
        except EngineError as error:
            if error.status not in (304, 404):
                raise

    async def events(self, actions: tuple[str, ...], *, since: str) -> AsyncIterator[Event]:
        """Container events from `since` (the engine's time, `seconds.nanoseconds`) on, until the stream breaks."""
        params = {"filters": msgspec.json.encode({"type": ["container"], "event": actions}).decode()}
        if since:
            params["since"] = since
        session = self._open_session()
        try:
            async with session.get(
                f"http://docker/{self._api}/events", params=params, timeout=STREAM_TIMEOUT
            ) as response:
                if response.status >= 400:
                    raise EngineError(await response.text(), status=response.status)
                buffer = b""
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield _EVENT.decode(line)
                    if len(buffer) > MAX_LINE:
                        raise EngineError("the engine sent an endless line of events")
        except aiohttp.ClientError as error:
            raise EngineError(f"lost the Docker engine at {self._path}: {error}") from error

    async def now(self) -> str:
        """The engine's clock in whole seconds, for `events(since=...)`: early is fine, late is not."""
        info = msgspec.json.decode(await self._bytes("GET", f"/{self._api}/info"))
        match = _TIMESTAMP.match(str(info.get("SystemTime") or ""))
        if match is None:
            return ""
        zone = match[2].replace("Z", "+00:00")
        return str(int(datetime.fromisoformat(match[1] + zone).timestamp()))

    async def _bytes(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> bytes:
        session = self._open_session()
        try:
            async with session.request(method, f"http://docker{path}", params=params) as response:
                content = await response.read()
        except TimeoutError as error:
            raise EngineError(f"the Docker engine did not answer {method} {path} in time") from error
        except aiohttp.ClientError as error:
            raise EngineError(
                f"cannot reach the Docker engine at {self._path}: {error}. Is its socket mounted?"
            ) from error
        if response.status >= 400:
            raise EngineError(content.decode("utf-8", "replace").strip(), status=response.status)
        return content

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EngineError("not connected")
        return self._session


def _number(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)
