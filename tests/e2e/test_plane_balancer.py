"""A load balancer in front of services that change under load: no request fails."""

import asyncio
import contextlib
import ssl
from functools import partial
from typing import Any

import aiohttp
import pytest

from drover.client.wait import in_state
from tests.certificates import self_signed
from tests.e2e.load import Load
from tests.e2e.plane import Plane
from tests.e2e.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.parametrize("planes", ["VXLAN"], indirect=True, ids=["vxlan"]),
]

_RATE = 500
_PORT = 8088
_NAMES = ("shop", "api")


def _services(plane: Plane, version: str) -> dict[str, Any]:
    return {
        "web": {
            "image": plane.lab.image("lab/nginx"),
            "labels": {"version": version},
        },
        "lb": {
            "image": "drover:latest",
            "command": "balancer --guard",
            "ports": [f"{_PORT}:{_PORT}/tcp"],
            "labels": {"io.rancher.scheduler.global": "true"},
        },
    }


def _rancher(scale: int) -> dict[str, Any]:
    check = {"port": 80, "request_line": 'GET "/hostname" "HTTP/1.0"', "interval": 1000, "response_timeout": 1000}
    check |= {"healthy_threshold": 1, "unhealthy_threshold": 2, "initializing_timeout": 60000}
    return {
        "web": {"scale": scale, "health_check": check, "upgrade_strategy": {"start_first": True}},
        "lb": {"lb_config": {"port_rules": [{"source_port": _PORT, "target_port": 80, "service": "web"}]}},
    }


def _files(plane: Plane, version: str, scale: int) -> list[str]:
    compose = plane.write("front/docker-compose.yml", _services(plane, version))
    rancher = plane.write("front/rancher-compose.yml", _rancher(scale))
    return ["-s", "front", "-f", compose, "--rancher-file", rancher]


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with session.get(url) as response:
            return response.status
    return 0


async def _deployed(plane: Plane, scale: int) -> list[str]:
    """The stack with so many containers behind the balancer; returns the balancer's addresses."""
    await plane.drover("up", "-d", *_files(plane, "1", scale), timeout=180)
    await plane.until_running("front/web", scale, timeout=180)
    await plane.until_running("front/lb", len(plane.hosts))
    urls = [f"http://{host.address}:{_PORT}/hostname" for host in plane.hosts]
    async with aiohttp.ClientSession() as session:
        for url in urls:
            await eventually(partial(_status, session, url), lambda status: status == 200, what=f"{url} answers")
    async with Load(urls, 50) as load:
        await eventually(
            lambda: asyncio.sleep(0.2, len(load.answers)),
            lambda seen: seen == scale,
            what=f"all {scale} containers answer through the balancer",
            timeout=120,
        )
    return urls


async def test_a_rolling_upgrade_loses_no_request(plane: Plane) -> None:
    urls = await _deployed(plane, 10)
    old = {each.id for each in await plane.of_service("front/web")}
    async with Load(urls, _RATE) as load:
        await asyncio.sleep(2)
        files = _files(plane, "2", 10)
        await plane.drover("up", "-d", "-u", "--batch-size", "1", "--interval", "200", *files, timeout=300)
        await plane.drover("up", "-d", "-c", *files, timeout=180)
        await asyncio.sleep(2)
    print(load)
    new = await plane.until_running("front/web", 10)
    assert not old & {each.id for each in new}
    assert not load.failures, str(load)


async def test_scaling_loses_no_request(plane: Plane) -> None:
    urls = await _deployed(plane, 2)
    async with Load(urls, _RATE) as load:
        await asyncio.sleep(1)
        await plane.drover("scale", "-w", "front/web=20", timeout=180)
        await plane.until_running("front/web", 20, timeout=180)
        await asyncio.sleep(5)
        await plane.drover("scale", "-w", "front/web=2", timeout=180)
        await plane.until_running("front/web", 2, timeout=180)
        await asyncio.sleep(2)
    print(load)
    assert len(load.answers) == 20
    assert not load.failures, str(load)


async def test_a_stack_file_of_rancher_1_6_ends_tls(plane: Plane) -> None:
    """Its image, its keys, its certificates: two names on one port, each with its own certificate and target."""
    authorities = ssl.create_default_context()
    for name in _NAMES:
        certificate, key = self_signed(f"{name}.example.com")
        created = await plane.api.create("certificate", {"name": name, "cert": certificate, "key": key})
        await plane.api.wait(created, in_state("active"))
        authorities.load_verify_locations(cadata=certificate)
    rules = [
        {"source_port": 443, "target_port": 80, "service": name, "protocol": "https", "hostname": f"{name}.example.com"}
        for name in _NAMES
    ]
    balancer = {
        "image": "rancher/lb-service-haproxy:v0.9.1",
        "ports": ["443:443/tcp"],
        "labels": {"io.rancher.scheduler.global": "true"},
    }
    compose = plane.write("secure/docker-compose.yml", {"shop": plane.web(), "api": plane.web(), "lb": balancer})
    config = {"default_cert": "shop", "certs": ["api"], "port_rules": rules}
    rancher = plane.write("secure/rancher-compose.yml", {"lb": {"lb_config": config}})
    await plane.drover("up", "-d", "-s", "secure", "-f", compose, "--rancher-file", rancher, timeout=180)
    (shop,), (api,) = await plane.until_running("secure/shop", 1), await plane.until_running("secure/api", 1)
    for host in plane.hosts:
        for name, target in zip(_NAMES, (shop, api), strict=True):
            await eventually(
                partial(_over_tls, authorities, host.address, f"{name}.example.com"),
                lambda answer, target=target: answer == target.details["Config"]["Hostname"],
                what=f"{name} answers on {host.name} with its own certificate",
                timeout=120,
            )


async def _over_tls(authorities: ssl.SSLContext, address: str, name: str) -> str | None:
    """What an HTTPS server answers; None as long as it does not, or not with a certificate for the name."""
    connector = aiohttp.TCPConnector(ssl=authorities)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.get(f"https://{address}/", server_hostname=name, headers={"Host": name}) as response:
                return (await response.text()).strip() if response.status == 200 else None
        except (aiohttp.ClientError, OSError):
            return None
