"""The Docker engine of this host: the calls the agent makes, and nothing else.

aiodocker owns the connection (unix socket or TCP with TLS) and its pool. The calls go through its session
instead of its container objects for three reasons: starting a container must cost exactly the requests that are
written here, answers are decoded by msgspec, and streams (events, logs, pulls) need the raw bytes.

Two connection pools: `calls` is bounded so that a burst queues here and not in the engine, `streams` is not,
so that a hundred open log views never keep a container from starting.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiodocker
import aiohttp
import msgspec
from aiodocker.exceptions import DockerError
from yarl import URL

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
NEWEST_KNOWN_API = (1, 44)
"""Newer engines are spoken to in this version: a newer one may give the fields we send another meaning."""

CALL_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=10)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
POOL_SIZE = 32
MAX_STREAM_LINE = 4 * 1024 * 1024

REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
"""Loose on purpose (the engine knows the grammar); tight enough that a reference stays inside its URL."""

JsonObject = dict[str, Any]


def parse_api_version(text: str) -> tuple[int, int]:
    """`1.41` -> (1, 41)."""
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def format_api_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def negotiate(*, server: str, minimum: str | None) -> tuple[int, int]:
    """The version to speak: the engine's, but never newer than the newest we know.

    Raises DockerError when the engine no longer accepts anything that we speak.
    """
    chosen = min(parse_api_version(server), NEWEST_KNOWN_API)
    if minimum and parse_api_version(minimum) > chosen:
        raise DockerError(
            400,
            f"this Docker engine speaks API {minimum} or newer, but this agent speaks at most "
            f"{format_api_version(chosen)}: update the agent",
        )
    return chosen


async def ignoring_absence(call: Awaitable[None]) -> None:
    """For what shall be gone or down anyway: 404 is success."""
    try:
        await call
    except DockerError as error:
        if error.status != 404:
            raise


class Engine:
    """One connected engine. Every call raises DockerError (status, message) when the engine refuses."""

    def __init__(
        self, calls: aiodocker.Docker, streams: aiodocker.Docker, *, url: str, api_version: tuple[int, int]
    ) -> None:
        self._calls = calls
        self._streams = streams
        self.url = url
        self.api_version = api_version

    @classmethod
    async def connect(cls, url: str | None = None) -> Engine:
        """Connects and agrees on an API version; `url` defaults to the local socket."""
        address = url or DEFAULT_SOCKET
        calls = _client(address, limit=POOL_SIZE, timeout=CALL_TIMEOUT)
        streams = _client(address, limit=0, timeout=STREAM_TIMEOUT)
        try:
            async with calls.session.get(URL(f"{calls.docker_host}/version")) as response:
                answer = msgspec.json.decode(await response.read())
            version = negotiate(server=answer["ApiVersion"], minimum=answer.get("MinAPIVersion"))
        except aiohttp.ClientError as error:
            await _close(calls, streams)
            raise DockerError(900, f"cannot reach the Docker engine at {address}: {error}") from error
        except BaseException:
            await _close(calls, streams)
            raise
        calls.api_version = streams.api_version = "v" + format_api_version(version)
        return cls(calls, streams, url=address, api_version=version)

    async def close(self) -> None:
        await _close(self._calls, self._streams)

    @property
    def streaming(self) -> aiodocker.Docker:
        """For upgraded connections (exec), which live as long as a user keeps a shell open."""
        return self._streams

    @property
    def socket_path(self) -> str | None:
        """The unix socket's path, or None for an engine behind TCP."""
        return self.url.removeprefix("unix://") if self.url.startswith("unix://") else None

    # --- the engine itself ---

    async def info(self) -> JsonObject:
        return await self._object("GET", "info")

    async def version(self) -> JsonObject:
        return await self._object("GET", "version")

    # --- containers ---

    async def list_containers(self, *, filters: Mapping[str, list[str]] | None = None) -> list[JsonObject]:
        params = {"all": "1"}
        if filters:
            params["filters"] = msgspec.json.encode(filters).decode()
        listed: list[JsonObject] = await self._json("GET", "containers/json", params=params)
        return listed

    async def create_container(self, name: str, body: JsonObject) -> str:
        """Returns the new container's id."""
        created = await self._object("POST", "containers/create", params={"name": name}, body=body)
        return str(created["Id"])

    async def start_container(self, container: str) -> None:
        await self._bytes("POST", f"containers/{_segment(container)}/start")

    async def stop_container(self, container: str, *, grace: int) -> None:
        """SIGTERM (or the stop signal), then SIGKILL after `grace` seconds."""
        # The engine answers only when the container is down, so the deadline grows with the grace period.
        timeout = aiohttp.ClientTimeout(total=grace + 60, sock_connect=10)
        await self._bytes("POST", f"containers/{_segment(container)}/stop", params={"t": str(grace)}, timeout=timeout)

    async def kill_container(self, container: str) -> None:
        await self._bytes("POST", f"containers/{_segment(container)}/kill")

    async def wait_container(self, container: str, *, timeout: float) -> int:
        """The exit status of a container, once it has ended; DockerError when it has not within `timeout` seconds."""
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=10)
        path = f"containers/{_segment(container)}/wait"
        return int(msgspec.json.decode(await self._bytes("POST", path, timeout=limit))["StatusCode"])

    async def rename_container(self, container: str, name: str) -> None:
        await self._bytes("POST", f"containers/{_segment(container)}/rename", params={"name": name})

    async def remove_container(self, container: str, *, force: bool = False) -> None:
        await self._bytes("DELETE", f"containers/{_segment(container)}", params={"force": "1"} if force else None)

    async def put_archive(self, container: str, *, folder: str, archive: bytes) -> None:
        """Unpacks a tar archive into a folder of the container, running or not."""
        await self._bytes("PUT", f"containers/{_segment(container)}/archive", params={"path": folder}, raw=archive)

    async def inspect_container(self, container: str) -> JsonObject:
        return await self._object("GET", f"containers/{_segment(container)}/json")

    async def inspect_container_raw(self, container: str) -> msgspec.Raw:
        """The inspect as the engine wrote it, for passing on."""
        return msgspec.Raw(await self._bytes("GET", f"containers/{_segment(container)}/json"))

    # --- images ---

    async def list_images(self) -> list[JsonObject]:
        listed: list[JsonObject] = await self._json("GET", "images/json")
        return listed

    async def inspect_image(self, reference: str) -> JsonObject:
        return await self._object("GET", f"images/{_reference(reference)}/json")

    async def tag_image(self, reference: str, *, repository: str, tag: str) -> None:
        params = {"repo": repository, "tag": tag}
        await self._bytes("POST", f"images/{_reference(reference)}/tag", params=params)

    async def remove_image(self, reference: str, *, force: bool) -> None:
        await self._bytes("DELETE", f"images/{_reference(reference)}", params={"force": "1"} if force else None)

    def pull_image(self, params: Mapping[str, str], *, auth: str | None) -> AsyncIterator[JsonObject]:
        """The progress lines of a pull; a line with `error` ends it."""
        headers = {"X-Registry-Auth": auth} if auth else {}
        return self._lines("POST", "images/create", params=params, headers=headers)

    async def import_image(self, archive: bytes, *, repository: str) -> None:
        """An image of one layer from a tar archive."""
        await self._bytes("POST", "images/create", params={"fromSrc": "-", "repo": repository}, raw=archive)

    def build_image(self, params: Mapping[str, str]) -> AsyncIterator[JsonObject]:
        return self._lines("POST", "build", params=params, headers={})

    # --- volumes ---

    async def inspect_volume(self, name: str) -> JsonObject:
        return await self._object("GET", f"volumes/{_segment(name)}")

    async def create_volume(self, name: str, *, driver: str, options: Mapping[str, str]) -> JsonObject:
        body = {"Name": name, "Driver": driver or "local", "DriverOpts": dict(options)}
        return await self._object("POST", "volumes/create", body=body)

    async def remove_volume(self, name: str) -> None:
        await self._bytes("DELETE", f"volumes/{_segment(name)}")

    # --- exec ---

    async def create_exec(self, container: str, body: JsonObject) -> str:
        created = await self._object("POST", f"containers/{_segment(container)}/exec", body=body)
        return str(created["Id"])

    async def inspect_exec(self, exec_id: str) -> JsonObject:
        return await self._object("GET", f"exec/{_segment(exec_id)}/json")

    # --- streams ---

    def events(self, params: Mapping[str, str]) -> AsyncIterator[JsonObject]:
        return self._lines("GET", "events", params=params, headers={})

    def stats(self, container: str) -> AsyncIterator[JsonObject]:
        """One sample a second."""
        return self._lines("GET", f"containers/{_segment(container)}/stats", params={"stream": "1"}, headers={})

    def logs(self, container: str, params: Mapping[str, str]) -> AbstractAsyncContextManager[aiohttp.StreamReader]:
        """The raw log stream: multiplexed frames, or plain bytes for a container with a TTY."""
        return self._stream("GET", f"containers/{_segment(container)}/logs", params=params, headers={})

    # --- transport ---

    async def _object(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None
    ) -> JsonObject:
        answer: JsonObject = await self._json(method, path, params=params, body=body)
        return answer

    async def _json(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        return msgspec.json.decode(await self._bytes(method, path, params=params, body=body))

    async def _bytes(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        raw: bytes | None = None,
        timeout: aiohttp.ClientTimeout = CALL_TIMEOUT,
    ) -> bytes:
        """`body` travels as JSON, `raw` as the tar archive that it is."""
        data = raw if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json" if raw is None else "application/x-tar"}
        url = _url(self._calls, path, params)
        try:
            async with self._calls.session.request(
                method, url, data=data, headers=headers, timeout=timeout
            ) as response:
                content = await response.read()
        except TimeoutError as error:
            raise DockerError(
                900, f"the Docker engine did not answer {method} /{path} in {timeout.total:.0f} s"
            ) from error
        except aiohttp.ClientError as error:
            raise DockerError(900, f"lost the Docker engine at {self.url}: {error}") from error
        if response.status >= 400:
            raise DockerError(response.status, _error_text(content))
        return content

    @asynccontextmanager
    async def _stream(
        self, method: str, path: str, *, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        url = _url(self._streams, path, params)
        try:
            async with self._streams.session.request(method, url, headers=headers) as response:
                if response.status >= 400:
                    raise DockerError(response.status, _error_text(await response.read()))
                try:
                    yield response.content
                finally:
                    # Releasing would read an endless stream to its end.
                    response.close()
        except aiohttp.ClientError as error:
            raise DockerError(900, f"lost the Docker engine at {self.url}: {error}") from error

    async def _lines(
        self, method: str, path: str, *, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[JsonObject]:
        async with self._stream(method, path, params=params, headers=headers) as content:
            buffer = bytearray()
            async for chunk in content.iter_any():
                buffer += chunk
                *lines, rest = bytes(buffer).split(b"\n") if b"\n" in chunk else (bytes(buffer),)
                for line in lines:
                    if line.strip():
                        yield msgspec.json.decode(line)
                buffer = bytearray(rest)
                if len(buffer) > MAX_STREAM_LINE:
                    raise DockerError(900, f"the Docker engine sent an endless line on /{path}")
            if buffer.strip():
                yield msgspec.json.decode(bytes(buffer))


def _client(address: str, *, limit: int, timeout: aiohttp.ClientTimeout) -> aiodocker.Docker:
    if not address.startswith("unix://"):
        return aiodocker.Docker(url=address, timeout=timeout)
    path = address.removeprefix("unix://")
    connector = aiohttp.UnixConnector(path, limit=limit, keepalive_timeout=60)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout)
    docker = aiodocker.Docker(url=address, connector=connector, session=session)
    # With a connector of ours, aiodocker takes the socket's path for the host of its URLs.
    docker.docker_host = "unix://localhost"
    return docker


async def _close(*clients: aiodocker.Docker) -> None:
    for client in clients:
        await client.close()
        # aiodocker leaves a session that it was given open; these are ours alone.
        await client.session.close()


def _url(docker: aiodocker.Docker, path: str, params: Mapping[str, str] | None) -> URL:
    url = URL(f"{docker.docker_host}/{docker.api_version}/{path}", encoded=True)
    return url.with_query(params) if params else url


def _segment(text: str) -> str:
    """A user-chosen value as one path segment: it cannot reach another endpoint."""
    return quote(text, safe="")


def _reference(text: str) -> str:
    """An image reference keeps its slashes and colons, as the engine's routes expect."""
    if not REFERENCE.fullmatch(text) or ".." in text:
        raise DockerError(400, f"invalid image reference {text!r}")
    return quote(text, safe="/:@")


def _error_text(content: bytes) -> str:
    try:
        message = msgspec.json.decode(content).get("message")
    except (msgspec.DecodeError, AttributeError):
        message = None
    return str(message) if message else content.decode("utf-8", "replace").strip() or "no reason given"
