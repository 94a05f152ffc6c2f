"""A steady stream of HTTP requests, and what became of each."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_OUTSTANDING = 64
"""More unanswered requests are never on their way: a machine that is too slow gets fewer, instead of a queue."""


@dataclass(slots=True)
class Load:
    """So many requests a second to some addresses in turn, half of them on connections of their own.

    A slow machine lowers the rate. A request counts as failed when it has no answer of status 200, for whatever reason;
    nothing is tried again.
    """

    urls: list[str]
    rate: int
    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    outstanding: int = 0
    seconds: float = 0.0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Load":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        kept = aiohttp.TCPConnector(limit=0)
        fresh = aiohttp.TCPConnector(limit=0, force_close=True)
        began = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=kept, timeout=_TIMEOUT) as keeping,
            aiohttp.ClientSession(connector=fresh, timeout=_TIMEOUT) as closing,
            asyncio.TaskGroup() as requests,
        ):
            due, last = 0.0, began
            while not self._stop.is_set():
                now = time.monotonic()
                due, last = min(due + (now - last) * self.rate, _OUTSTANDING), now
                while due >= 1 and self.outstanding < _OUTSTANDING:
                    due -= 1
                    session = (keeping, closing)[self.sent % 2]
                    requests.create_task(self._request(session, self.urls[self.sent % len(self.urls)]))
                    self.sent += 1
                    self.outstanding += 1
                await asyncio.sleep(0.005)
            self.seconds = time.monotonic() - began

    async def _request(self, session: aiohttp.ClientSession, url: str) -> None:
        began = time.monotonic()
        try:
            async with session.get(url) as response:
                body = await response.text()
                if response.status == 200:
                    self.answers[body.strip()] += 1
                else:
                    self.failures[f"status {response.status}"] += 1
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.failures[f"{type(error).__name__}: {error}"] += 1
        finally:
            self.outstanding -= 1
        self.slowest = max(self.slowest, time.monotonic() - began)

    def __str__(self) -> str:
        failed = sum(self.failures.values())
        return (
            f"{self.sent} requests in {self.seconds:.0f} s, {failed} failed {dict(self.failures)}, "
            f"{len(self.answers)} different servers, slowest {self.slowest * 1000:.0f} ms"
        )
