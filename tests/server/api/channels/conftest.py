"""A whole server on a free port, without access control, and clients of its sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from drover.server.app import ServerSettings, serving
from drover.server.assembly import Assembly
from tests.server.data_dirs import prepare

_WAIT = 60.0


@dataclass
class Agent:
    """A registered agent's keys, and the headers that prove them."""

    id: int
    headers: dict[str, str]


@dataclass
class Wire:
    """Requests and sockets against one server."""

    url: str
    session: aiohttp.ClientSession
    assembly: Assembly

    @property
    def project(self) -> str:
        return f"{self.url}/v2-beta/projects/1a5"

    async def call(self, method: str, url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        async with self.session.request(method, url, json=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else {}

    async def create(self, type_name: str, **body: Any) -> dict[str, Any]:
        status, created = await self.call("POST", f"{self.project}/{type_name}", body)
        assert status == 201, created
        return created

    def socket(self, path: str, **options: Any) -> Any:
        return self.session.ws_connect(f"{self.url.replace('http', 'ws', 1)}{path}", **options)

    async def project_key(self) -> dict[str, str]:
        """The header of an environment's API key, once it works."""
        key = created = await self.create("apikeys")
        async with asyncio.timeout(_WAIT):
            while key["state"] != "active":
                _, key = await self.call("GET", key["links"]["self"])
        return {"Authorization": aiohttp.encode_basic_auth(created["publicValue"], created["secretValue"])}

    async def register(self, number: int = 0, uri_format: str = "event://%s") -> Agent:
        """An agent as a host's would register; its keys."""
        token = await self.create("registrationtokens")
        while token["state"] != "active":
            _, token = await self.call("GET", token["links"]["self"])
        own = {"Authorization": aiohttp.encode_basic_auth("registrationToken", token["token"])}
        key = f"{number:0128x}"
        body = {"key": key, "agentUriFormat": uri_format}
        status, _ = await self.call("POST", f"{self.url}/v1/register", body, **own)
        assert status == 201
        async with asyncio.timeout(_WAIT):
            while True:
                _, found = await self.call("GET", f"{self.url}/v1/register?key={key}", **own)
                if found["data"] and found["data"][0].get("accessKey"):
                    break
                await asyncio.sleep(0.02)
        keys = found["data"][0]
        agents = await self.assembly.context.store.find_by("agent", uri=uri_format.replace("%s", keys["uuid"]))
        header = aiohttp.encode_basic_auth(keys["accessKey"], keys["secretKey"])
        return Agent(agents[0].id, {"Authorization": header})


async def frames(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON frames of a socket until it closes."""
    while True:
        message = await socket.receive(timeout=_WAIT)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return
        yield json.loads(message.data)


async def frame(
    socket: aiohttp.ClientWebSocketResponse, wanted: Callable[[dict[str, Any]], bool] = lambda frame: True
) -> dict[str, Any]:
    """The next frame that is wanted."""
    async with asyncio.timeout(_WAIT):
        async for each in frames(socket):
            if wanted(each):
                return each
    raise AssertionError(f"the socket closed with {socket.close_code}")


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    settings = ServerSettings(listen="127.0.0.1:0", data_dir=await prepare(tmp_path), auth="none")
    async with serving(settings) as server, aiohttp.ClientSession() as session:
        yield Wire(server.url, session, server.assembly)
