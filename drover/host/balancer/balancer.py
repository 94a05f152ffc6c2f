"""One balancer at work: whenever something that matters has changed, build the model anew and apply it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from drover.client.world import Container, Delta, World
from drover.common.backoff import Backoff
from drover.host.balancer.build import Built, NotABalancer, build, withhold_starting
from drover.host.balancer.certificates import Bundle, CertificateSource, CertificatesUnavailable
from drover.host.balancer.drain import Drains
from drover.host.balancer.interest import Interest
from drover.host.balancer.model import Certificates, Model
from drover.host.balancer.provider import Applied, Provider, Rejected
from drover.host.balancer.rules import BadRule
from drover.host.balancer.runtime import RuntimeFailed

_POLL_SECONDS = 0.2

log = structlog.get_logger(__name__)

FindOwn = Callable[[World], Awaitable[Container | None]]


@dataclass(slots=True)
class _Loaded:
    """Certificates that were read, and what for."""

    wanted: Certificates
    bundle: Bundle
    at: float


class Balancer:
    """``find_own`` says which container's balancer this is; ``world`` is kept current by someone else.

    ``on_outcome`` hears after each attempt why the configuration was refused, or an empty text.
    """

    def __init__(
        self,
        world: World,
        provider: Provider,
        certificates: CertificateSource,
        find_own: FindOwn,
        *,
        retry: float = 10.0,
        certificate_interval: float = 30.0,
        on_outcome: Callable[[str], None] = lambda problem: None,
    ) -> None:
        self._world = world
        self._provider = provider
        self._certificates = certificates
        self._find_own = find_own
        self._on_outcome = on_outcome
        self._certificate_interval = certificate_interval
        self._backoff = Backoff(initial=retry, maximum=max(retry, 300.0), floor=retry / 2)
        self._drains = Drains()
        self._changed = asyncio.Event()
        self._updating = asyncio.Lock()
        self._interest: Interest | None = None
        self._loaded: _Loaded | None = None
        self._model: Model | None = None
        self._problems: tuple[str, ...] = ()
        self._error = ""
        self._updates = 0

    def heard(self, delta: Delta) -> None:
        """Called with each change of the world."""
        if self._interest is None or self._interest.concerns(delta):
            self._changed.set()

    async def run(self) -> None:
        """Keep the provider up to date until cancelled. Failures keep the last good configuration and are retried."""
        while True:
            timeout = self._wait_seconds()
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            if self._world.loaded:
                await self.update()

    async def update(self) -> None:
        """Build and apply once."""
        async with self._updating:
            await self._provider.ready()
            try:
                await self._update()
            except (Rejected, BadRule, NotABalancer, RuntimeFailed, OSError) as error:
                if str(error) != self._error:
                    log.error("balancer.not_applied", reason=str(error))
                self._error = str(error)
                if not isinstance(error, NotABalancer):
                    self._on_outcome(self._error)
            else:
                self._error = ""
                self._on_outcome("")
                self._backoff.reset()

    async def drain(self, address: str, seconds: float) -> bool:
        """Send nothing new to an address; return when its sessions have ended or the time is over.

        False: a newer request for the address has taken this one's place.
        """
        entry = self._drains.begin(address, self._world)
        await self.update()
        deadline = time.monotonic() + seconds
        while self._drains.is_current(entry) and time.monotonic() < deadline:
            if not await self._provider.sessions(address):
                break
            await asyncio.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        entry.ended = time.monotonic()
        self._changed.set()  # so that the end of the drain is noticed in time
        return self._drains.is_current(entry)

    def status(self) -> Mapping[str, object]:
        provider = self._provider.status()
        return {
            "healthy": bool(provider.get("running")),
            "revision": self._world.revision,
            "updates": self._updates,
            "error": self._error,
            "problems": self._problems,
            "draining": [entry.address for entry in self._drains.entries.values()],
            "certificates": sorted(self._loaded.bundle.files) if self._loaded is not None else [],
            **provider,
        }

    def _wait_seconds(self) -> float | None:
        waits = [self._drains.next_look(time.monotonic())]
        if self._error:
            waits.append(self._backoff.next_delay())
        if self._loaded is not None and self._model is not None and self._model.ends_tls:
            waits.append(max(0.05, self._loaded.at + self._certificate_interval - time.monotonic()))
        return min((wait for wait in waits if wait is not None), default=None)

    async def _update(self) -> None:
        self._updates += 1
        own = await self._find_own(self._world)
        if own is None:
            raise NotABalancer("this container is not among those that metadata knows; it may need a moment")
        built = build(self._world, own, draining=self._drains.names(self._world, time.monotonic()))
        self._interest = built.interest
        model = withhold_starting(built.model)
        bundle = await self._bundle(model)
        self._report_problems(built, bundle)
        applied = await self._provider.apply(model, bundle)
        self._model = model
        if applied is not Applied.NOTHING:
            log.debug("balancer.applied", how=applied.value, revision=self._world.revision)

    async def _bundle(self, model: Model) -> Bundle:
        """The certificates, read again when others are wanted and from time to time."""
        if not model.ends_tls:
            self._loaded = None
            return Bundle()
        loaded, now = self._loaded, time.monotonic()
        if loaded is not None and loaded.wanted == model.certificates and now < loaded.at + self._certificate_interval:
            return loaded.bundle
        try:
            bundle = await self._certificates.load(model.certificates)
        except CertificatesUnavailable as error:
            kept = loaded.bundle if loaded is not None else Bundle()
            bundle = Bundle(kept.files, kept.default, (str(error),))
        self._loaded = _Loaded(model.certificates, bundle, now)
        return bundle

    def _report_problems(self, built: Built, bundle: Bundle) -> None:
        problems = (*built.problems, *bundle.problems)
        for problem in problems:
            if problem not in self._problems:
                log.warning("balancer.problem", problem=problem)
        self._problems = problems
