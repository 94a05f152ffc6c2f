"""The engine's own API, as little of it as the rivals and the observer need."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bench.processes import BenchError


@dataclass(frozen=True, slots=True)
class Started:
    """A container that the engine reported as started, at the engine's own time (seconds since the epoch)."""

    id: str
    at: float


@dataclass(slots=True)
class Starts:
    """The starts of one group of containers so far; fed by `DockerApi.watching`."""

    seen: list[Started] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, count: int, timeout: float) -> list[Started]:
        """The first ``count`` starts."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.seen) < count:
                    self.more.clear()
                    await self.more.wait()
        except TimeoutError as late:
            raise BenchError(f"{len(self.seen)} of {count} containers started within {timeout:g} s") from late
        return self.seen[:count]


@dataclass(frozen=True, slots=True)
class DockerApi:
    """One engine, by its socket."""

    session: aiohttp.ClientSession

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, socket: Path) -> AsyncIterator[DockerApi]:
        connector = aiohttp.UnixConnector(str(socket), limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield cls(session)

    async def call(
        self, method: str, path: str, body: Any = None, *, timeout: float = 60.0, **query: str | Mapping[str, Any]
    ) -> Any:
        """The decoded answer; None for an empty one. A mapping in the query is sent as JSON, as filters are."""
        url = f"http://docker/{path}"
        async with (
            asyncio.timeout(timeout),
            self.session.request(method, url, json=body, params=_texts(query)) as response,
        ):
            text = await response.read()
        if response.status >= 400:
            raise BenchError(f"the engine: {method} {path}: {response.status}: {text.decode(errors='replace')[:400]}")
        return msgspec.json.decode(text) if text else None

    async def containers(self, label: str, *, all_states: bool = False) -> list[str]:
        """Ids of the containers with this label (``name`` or ``name=value``), running ones unless told otherwise."""
        filters = {"label": [label]}
        found = await self.call("GET", "containers/json", all="1" if all_states else "0", filters=filters)
        return [str(each["Id"]) for each in found]

    async def until_gone(self, label: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while left := await self.containers(label, all_states=True):
            if time.monotonic() > deadline:
                raise BenchError(f"{len(left)} containers with the label {label} are still there after {timeout:g} s")
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def watching(self, label: str) -> AsyncIterator[Starts]:
        """Hear of every container with this label that starts, from the engine's stream of events."""
        starts = Starts()
        filters = {"type": ["container"], "event": ["start"], "label": [label]}
        async with self.session.get("http://docker/events", params=_texts({"filters": filters})) as response:
            task = asyncio.create_task(_follow(response, starts))
            try:
                yield starts
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def _follow(response: aiohttp.ClientResponse, starts: Starts) -> None:
    async for line in response.content:
        event = msgspec.json.decode(line)
        starts.seen.append(Started(str(event["id"]), int(event["timeNano"]) / 1e9))
        starts.more.set()


def _texts(query: Mapping[str, str | Mapping[str, Any]]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in query.items()
    }
