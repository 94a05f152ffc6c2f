"""The few calls of the API that the benches make."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from bench.processes import BenchError

_SAMPLE = re.compile(r"^(\w+) ([-+.\deE]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Api:
    """A server without access control at ``url``, and its default environment."""

    session: aiohttp.ClientSession
    url: str

    @property
    def environment(self) -> str:
        """The API address of the default environment."""
        return f"{self.url}/v2-beta/projects/1a5"

    async def get(self, path: str) -> dict[str, Any]:
        return await self._call("GET", path)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("POST", path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("PUT", path, body)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"{self.environment}/{path}"
        async with self.session.request(method, url, json=body) as response:
            text = await response.read()
            if response.status >= 400:
                raise BenchError(f"{method} {url}: {response.status}: {text.decode(errors='replace')[:500]}")
        answer: dict[str, Any] = msgspec.json.decode(text)
        return answer

    async def metric(self, name: str) -> float:
        async with self.session.get(f"{self.url}/metrics") as response:
            text = await response.text()
        found = dict(_SAMPLE.findall(text))
        if name not in found:
            raise BenchError(f"{self.url}/metrics has no {name}")
        return float(found[name])

    async def create_service(self, name: str, scale: int, **values: Any) -> str:
        """A stack with one service; returns the service's id once all of its containers run."""
        service_id = await self.start_service(name, scale, **values)
        await self.until_service(service_id, "active", timeout=60.0)
        return service_id

    async def start_service(self, name: str, scale: int, **values: Any) -> str:
        """A stack with one service; returns the service's id at once."""
        stack = await self.post("stacks", {"name": f"stack-{name}"})
        body = {
            "name": name,
            "stackId": stack["id"],
            "scale": scale,
            "startOnCreate": True,
            "launchConfig": {"imageUuid": "docker:bench/web:1"},
            **values,
        }
        service = await self.post("services", body)
        return str(service["id"])

    async def until_service(self, service_id: str, state: str, *, timeout: float, poll: float = 0.05) -> dict[str, Any]:
        """The service once it is in ``state``."""
        deadline = time.monotonic() + timeout
        while True:
            service = await self.get(f"services/{service_id}")
            if service["state"] == state:
                return service
            if time.monotonic() > deadline:
                raise BenchError(
                    f"service {service_id} is {service['state']!r} instead of {state!r} after {timeout:g} s: "
                    f"{service.get('transitioningMessage')}"
                )
            await asyncio.sleep(poll)
