"""How fast the API lists a hundred of many containers; runs in the large world of the scale bench.

One connection that stays open, one request after the other: what a user interface or a script sees. The times are
taken around sending the request and reading the whole body, without decoding it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from bench.processes import BenchError
from bench.result import Measure, percentile, significant
from bench.server import BenchServer

NAME = "lists"
TITLE = "Lists of containers"

_PAGE = 100
_WARM_UP = 5

NextUrl = Callable[[bytes], str]


class _Pagination(msgspec.Struct):
    next: str | None = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    pagination: _Pagination


async def measure(server: BenchServer, containers: int, requests: int) -> tuple[Measure, ...]:
    base = f"{server.environment}/containers?limit={_PAGE}"
    stack = (await server.get("stacks?name=stack-web"))["data"][0]["id"]
    cases = {
        f"first {_PAGE} of {containers:,}": base,
        "filtered by state": f"{base}&state=running",
        "filtered by state, none matches": f"{base}&state=stopped",
        "filtered by stack, sorted by name": f"{base}&stackId={stack}&sort=name",
    }
    measures: list[Measure] = []
    for name, url in cases.items():
        expected = 0 if "none" in name else _PAGE
        measures += _rows(name, await _time(server, url, requests, expected=expected))
    measures += _rows("page after page to the end", await _walk(server, base, containers))
    return tuple(measures)


def _rows(name: str, samples: list[float]) -> list[Measure]:
    note = f"{len(samples)} requests"
    return [
        Measure(f"{name}: p50", significant(percentile(samples, 0.50)), "ms", note=note),
        Measure(f"{name}: p99", significant(percentile(samples, 0.99)), "ms"),
    ]


async def _time(server: BenchServer, url: str, requests: int, *, expected: int) -> list[float]:
    samples = []
    for number in range(_WARM_UP + requests):
        milliseconds, body = await _fetch(server, url)
        if number >= _WARM_UP:
            samples.append(milliseconds)
    page = msgspec.json.decode(body, type=_Page)
    if len(page.data) != expected:
        raise BenchError(f"{url} lists {len(page.data)} containers instead of {expected}")
    return samples


async def _walk(server: BenchServer, first: str, containers: int) -> list[float]:
    """Follow the links to the next page; a late page must not cost more than an early one."""
    samples = []
    url: str | None = first
    seen = 0
    while url is not None:
        milliseconds, body = await _fetch(server, url)
        samples.append(milliseconds)
        page = msgspec.json.decode(body, type=_Page)
        seen += len(page.data)
        url = page.pagination.next
    if seen != containers:
        raise BenchError(f"walking {first} found {seen} containers instead of {containers}")
    return samples


async def _fetch(server: BenchServer, url: str) -> tuple[float, bytes]:
    began = time.perf_counter()
    async with server.session.get(url) as response:
        body = await response.read()
        if response.status != 200:
            raise BenchError(f"{url}: {response.status}: {body.decode(errors='replace')[:300]}")
    return (time.perf_counter() - began) * 1000, body
