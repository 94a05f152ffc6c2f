"""Tells the server what changed, and goes on telling until the server has taken it.

A verdict that was taken is not repeated, except when the environment shows that the server does not know it any more.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import msgspec
import structlog

from drover.client.world.upstream import api_root
from drover.common.backoff import Backoff
from drover.host.health.metrics import REPORTS

log = structlog.get_logger(__name__)

UP = "UP"
DOWN = "DOWN"
RETRY_SECONDS = 2.0
_LONGEST_RETRY = 32.0
_CONNECTIONS = 4
_TIMEOUT = aiohttp.ClientTimeout(total=20.0, sock_connect=5.0)


@dataclass(slots=True)
class _News:
    """The latest verdict on a key. `taken` is what the server has; `queued`: waits, or is being sent."""

    verdict: str
    timestamp: int
    taken: str | None = None
    taken_at: float = 0.0
    queued: bool = False
    refusals: int = 0


@dataclass(slots=True)
class Reports:
    """Sends over few connections that stay open. `run` until cancelled."""

    server_url: str
    access_key: str
    secret_key: str = field(repr=False)
    clock: Callable[[], float] = time.time
    retry_seconds: float = RETRY_SECONDS
    trouble: str = ""
    sent: int = 0
    _news: dict[str, _News] = field(default_factory=dict)
    _queue: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _backoff: Backoff = field(default_factory=lambda: Backoff(initial=0.5, maximum=15.0))

    def tell(self, key: str, verdict: str) -> None:
        """The verdict on a key is this from now on."""
        now = self.clock()
        known = self._news.get(key)
        if known is None:
            known = self._news[key] = _News(verdict, int(now))
        else:
            known.verdict, known.timestamp, known.refusals = verdict, int(now), 0
        self._put(key, known)

    def forget(self, key: str) -> None:
        """The key is no longer checked. Should it come back, its verdict is news again."""
        self._news.pop(key, None)

    def repeat(self, key: str, *, after: float) -> None:
        """The server does not act as if it knew the verdict: say it again, if it was taken so many seconds ago."""
        known = self._news.get(key)
        if known is not None and known.taken is not None and self.clock() - known.taken_at >= after:
            known.taken = None
            known.timestamp = int(self.clock())
            self._put(key, known)

    def told(self, key: str) -> str | None:
        """What the server took last."""
        known = self._news.get(key)
        return None if known is None else known.taken

    @property
    def waiting(self) -> int:
        return sum(news.taken != news.verdict for news in self._news.values())

    async def run(self) -> None:
        login = base64.b64encode(f"{self.access_key}:{self.secret_key}".encode()).decode()
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=300.0)
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(
                connector=connector, headers=headers, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(_CONNECTIONS):
                group.create_task(self._send_all(session), name=f"reports-{number}")

    def _put(self, key: str, news: _News) -> None:
        if not news.queued and news.verdict != news.taken:
            news.queued = True
            self._queue.put_nowait(key)

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        url = api_root(self.server_url) + "/serviceevents"
        while True:
            key = await self._queue.get()
            news = self._news.get(key)
            if news is None:
                continue
            verdict = news.verdict
            wait = await self._send(session, url, key, news) if verdict != news.taken else 0.0
            if wait is None:
                self._put_later(key, self.retry_seconds * 2 ** min(news.refusals - 1, 4))
                continue
            if wait:
                self._queue.put_nowait(key)
                await asyncio.sleep(wait)
                continue
            news.queued = False
            self._put(key, news)  # it may have changed while it was sent

    async def _send(self, session: aiohttp.ClientSession, url: str, key: str, news: _News) -> float | None:
        """0: taken. A number of seconds: the server cannot be reached, wait. None: refused, try this one later."""
        verdict = news.verdict
        body = {"healthcheckUuid": key, "reportedHealth": verdict, "externalTimestamp": news.timestamp}
        try:
            async with session.post(url, data=msgspec.json.encode(body)) as answer:
                text = await answer.text()
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return self._unreachable(str(error) or type(error).__name__)
        if status >= 500 or status in (401, 429):
            return self._unreachable(f"the server answered {status}")
        self._backoff.reset()
        self.trouble = ""
        if status >= 400:
            news.refusals += 1
            REPORTS.labels("refused").inc()
            log.info("health.report_refused", key=key, status=status, answer=text[:200])
            return None
        news.taken, news.taken_at, news.refusals = verdict, self.clock(), 0
        self.sent += 1
        REPORTS.labels("taken").inc()
        return 0.0

    def _unreachable(self, reason: str) -> float:
        delay = self._backoff.next_delay()
        if reason != self.trouble:
            log.warning("health.server_unreachable", server=self.server_url, reason=reason, retry_in=round(delay, 2))
        self.trouble = reason
        return delay

    def _put_later(self, key: str, seconds: float) -> None:
        delay = min(seconds, _LONGEST_RETRY)
        asyncio.get_running_loop().call_later(delay, self._queue.put_nowait, key)
