"""Questions for other name servers: a cache, several servers, and no waiting for those that are known to be silent.

The servers of a list are asked in order, but not for long: when the first has not answered after a moment the next is
asked as well, and the first reply wins, whatever it says. A server that stays silent goes to the end of the order for
a while that grows. When none answers, an expired reply is better than none.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from drover.host.dns.exchange import NoReply, ask, server_address
from drover.host.dns.message import Message

log = structlog.get_logger(__name__)

HEDGE_SECONDS = 0.25
STALE_TTL = 30  # RFC 8767
NEGATIVE_SECONDS = 30.0
_LONGEST_PENALTY = 30.0


class Request(NamedTuple):
    """What is asked, of whom: the key of the cache. ``question`` is in lower case."""

    question: bytes
    servers: tuple[str, ...]
    dnssec_ok: bool = False
    checking_disabled: bool = False


class Found(NamedTuple):
    """A reply, its age in seconds, and the TTL to show instead of its own when it is stale."""

    message: Message
    age: int = 0
    ttl: int | None = None


@dataclass(slots=True)
class ServerHealth:
    """``down_until``: not asked before the others until then (on the clock of the loop)."""

    failures: int = 0
    down_until: float = 0.0
    round_trip: float = 0.0

    def answered(self, seconds: float) -> None:
        self.failures, self.down_until = 0, 0.0
        self.round_trip = seconds if self.round_trip == 0 else 0.8 * self.round_trip + 0.2 * seconds

    def failed(self, now: float) -> None:
        self.failures += 1
        self.down_until = now + min(_LONGEST_PENALTY, 2.0 ** (self.failures - 1))

    @property
    def patience(self) -> float:
        """How long to wait for it before asking another one too."""
        return HEDGE_SECONDS if self.round_trip == 0 else min(HEDGE_SECONDS, max(0.02, 4 * self.round_trip))


@dataclass(slots=True)
class _Kept:
    message: Message
    stored: float
    expires: float


@dataclass(slots=True)
class Counters:
    asked: int = 0
    hits: int = 0
    stale: int = 0
    failed: int = 0


class Forwarder:
    """Use as a context manager: leaving it ends what is still being asked. Durations are in seconds."""

    def __init__(
        self,
        *,
        timeout: float = 2.0,
        capacity: int = 1000,
        ttl_max: float = 300.0,
        stale_max: float = 86400.0,
        in_flight: int = 1000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._timeout = timeout
        self._capacity = capacity
        self._ttl_max = ttl_max
        self._stale_max = stale_max
        self._in_flight = in_flight
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._cache: OrderedDict[Request, _Kept] = OrderedDict()
        self._asking: dict[Request, asyncio.Task[Message | None]] = {}
        self.health: dict[str, ServerHealth] = {}
        self.counters = Counters()

    async def __aenter__(self) -> Forwarder:
        return self

    async def __aexit__(self, *_: object) -> None:
        asking = list(self._asking.values())
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def cached(self, request: Request) -> Found | None:
        """A reply that is still valid."""
        kept = self._cache.get(request)
        now = self._clock()
        if kept is None or now >= kept.expires:
            return None
        self._cache.move_to_end(request)
        self.counters.hits += 1
        return Found(kept.message, int(now - kept.stored))

    async def find(self, request: Request) -> Found | None:
        """From the cache, or from the servers. Those who ask the same at the same time share one exchange. None when
        nobody answered.
        """
        if (found := self.cached(request)) is not None:
            return found
        task = self._asking.get(request)
        if task is None:
            if len(self._asking) >= self._in_flight:
                return self._stale(request)
            task = self._asking[request] = asyncio.create_task(self._ask(request))
            task.add_done_callback(lambda _: self._asking.pop(request, None))
        message = await asyncio.shield(task)
        return self._stale(request) if message is None else Found(message)

    def _stale(self, request: Request) -> Found | None:
        kept = self._cache.get(request)
        if kept is None or self._clock() >= kept.expires + self._stale_max:
            self.counters.failed += 1
            return None
        self.counters.stale += 1
        return Found(kept.message, ttl=STALE_TTL)

    async def _ask(self, request: Request) -> Message | None:
        self.counters.asked += 1
        message = await self._race(request)
        if message is not None:
            self._keep(request, message)
        return message

    def _keep(self, request: Request, message: Message) -> None:
        lifetime = message.lifetime(longest=self._ttl_max, without_soa=NEGATIVE_SECONDS)
        if lifetime <= 0 or message.truncated:
            return
        now = self._clock()
        self._cache[request] = _Kept(message, now, now + lifetime)
        self._cache.move_to_end(request)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)

    async def _race(self, request: Request) -> Message | None:
        """Start the servers one after another, a moment apart or as soon as one has failed; the first reply wins."""
        waiting: set[asyncio.Task[Message | None]] = set()
        servers = iter(self._ranked(request.servers))
        try:
            patience = self._start_next(servers, request, waiting)
            while waiting:
                done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    if (message := each.result()) is not None:
                        return message
                patience = self._start_next(servers, request, waiting)
            return None
        finally:
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _start_next(
        self, servers: Iterator[str], request: Request, waiting: set[asyncio.Task[Message | None]]
    ) -> float | None:
        """Ask one more server, if there is one. Returns how long to wait for it alone; None: for all that are asked."""
        server = next(servers, None)
        if server is None:
            return None
        waiting.add(asyncio.create_task(self._exchange(server, request)))
        return self.health[server].patience if server in self.health else HEDGE_SECONDS

    async def _exchange(self, server: str, request: Request) -> Message | None:
        health, began = self.health.setdefault(server, ServerHealth()), self._clock()
        try:
            message = await ask(
                server_address(server),
                request.question,
                timeout=self._timeout,
                dnssec_ok=request.dnssec_ok,
                checking_disabled=request.checking_disabled,
            )
        except NoReply as error:
            if health.failures == 0:
                log.warning("name server does not answer", server=server, error=str(error))
            health.failed(self._clock())
            return None
        if health.failures:
            log.info("name server answers again", server=server)
        health.answered(self._clock() - began)
        return message

    def _ranked(self, servers: Iterable[str]) -> list[str]:
        """In order; those that are down last, the one that comes back soonest first."""
        now = self._clock()
        ranks = {server: max(0.0, known.down_until - now) for server, known in self.health.items()}
        return sorted(dict.fromkeys(servers), key=lambda server: ranks.get(server, 0.0))
