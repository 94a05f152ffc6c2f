"""The helpers of the original's command line: over a real server with simulated hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from drover.server.app import ServerSettings, serving

pytestmark = pytest.mark.anyio

INSPECT = {"Name": "/web", "Config": {"Image": "nginx", "Env": ["A=b"]}, "HostConfig": {"Memory": 1000}}


def settings(path: Path) -> ServerSettings:
    return ServerSettings(listen="127.0.0.1:0", data_dir=path, auth="none")


async def test_a_container_becomes_a_launch_config(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as server, aiohttp.ClientSession() as session:
        url = f"{server.url}/v2-beta/projects/1a5/scripts/transform"
        async with session.post(url, json=INSPECT) as response:
            first = await response.json()
            assert response.status == 200
        assert (first["type"], first["imageUuid"], first["environment"], first["memory"]) == (
            "container",
            "docker:nginx",
            {"A": "b"},
            1000,
        )
        async with session.post(url, json=INSPECT) as response:
            assert await response.json() == first
        async with session.post(url, json={"HostConfig": {"NetworkMode": "container:x"}}) as response:
            assert response.status == 422
            assert "container network mode" in (await response.json())["message"]


async def test_transforming_needs_credentials(tmp_path: Path) -> None:
    strict = ServerSettings(listen="127.0.0.1:0", data_dir=tmp_path, auth="local")
    async with (
        serving(strict) as server,
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/v2-beta/scripts/transform", json=INSPECT) as response,
    ):
        assert response.status == 401


async def test_a_pull_task_reports_every_host(tmp_path: Path) -> None:
    async with serving(settings(tmp_path)) as server, aiohttp.ClientSession() as session:
        api = f"{server.url}/v2-beta/projects/1a5"
        async with session.post(f"{api}/registrationtokens", json={}) as response:
            token = await response.json()
        async with asyncio.timeout(60):
            while token["state"] != "active":
                await asyncio.sleep(0.05)
                async with session.get(token["links"]["self"]) as response:
                    token = await response.json()
        auth = {"Authorization": aiohttp.encode_basic_auth("registrationToken", token["token"])}
        body = {"key": "k" * 128, "agentUriFormat": "sim://%s"}
        async with session.post(f"{server.url}/v1/register", json=body, headers=auth) as response:
            assert response.status == 201
        async with asyncio.timeout(60):
            while True:
                async with session.get(f"{api}/hosts?state=active") as response:
                    hosts = (await response.json())["data"]
                if hosts:
                    break
                await asyncio.sleep(0.05)
        async with session.post(f"{api}/pulltasks", json={"image": "nginx", "mode": "all", "labels": {}}) as response:
            task = await response.json()
        async with asyncio.timeout(60):
            while task["state"] != "active":
                await asyncio.sleep(0.05)
                async with session.get(task["links"]["self"]) as response:
                    task = await response.json()
        assert task["status"] == {hosts[0]["uuid"]: "Done"}
