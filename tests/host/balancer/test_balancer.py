"""One balancer at work, with a provider that only remembers: what triggers work, failures, certificates, drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from drover.client.errors import ConnectionFailed
from drover.client.world import Container, Full, Service, Stack, World
from drover.host.balancer.balancer import Balancer
from drover.host.balancer.certificates import Bundle, CertificateSource
from drover.host.balancer.drain import RESTORE_SECONDS, Drains
from drover.host.balancer.model import Model, server_name
from drover.host.balancer.provider import Applied, Rejected
from tests.host.balancer.worlds import OWN, Town, rule

pytestmark = pytest.mark.anyio


@dataclass
class Recorder:
    """A provider that carries nothing out."""

    applied: list[Model] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    open_sessions: dict[str, int] = field(default_factory=dict)
    refusal: str = ""
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def ready(self) -> None:
        return

    async def apply(self, model: Model, bundle: Bundle) -> Applied:
        if self.refusal:
            raise Rejected(self.refusal)
        self.applied.append(model)
        self.bundles.append(bundle)
        self.heard.set()
        return Applied.RUNTIME

    async def sessions(self, address: str) -> int:
        return self.open_sessions.get(address, 0)

    async def stop(self, grace: float) -> None:
        return

    def status(self) -> Mapping[str, object]:
        return {"running": True}

    def weights(self) -> dict[str, int]:
        return {server.address: server.weight for each in self.applied[-1].backends for server in each.servers}


async def find_own(world: World) -> Container | None:
    return world.containers.get(OWN)


async def no_certificates(name: str) -> str | None:
    return None


@dataclass
class Work:
    town: Town
    world: World
    recorder: Recorder
    balancer: Balancer
    outcomes: list[str]
    revision: int = 1

    def change(self) -> None:
        self.revision += 1
        self.balancer.heard(self.world.apply(Full(epoch="e", revision=self.revision, objects=self.town.objects())))

    async def applied(self) -> None:
        self.recorder.heard.clear()
        async with asyncio.timeout(60):
            await self.recorder.heard.wait()


@asynccontextmanager
async def work(town: Town, source: CertificateSource | None = None, *, retry: float = 10.0) -> AsyncIterator[Work]:
    recorder, world = Recorder(), World()
    source = source or CertificateSource(no_certificates)
    outcomes: list[str] = []
    balancer = Balancer(
        world, recorder, source, find_own, retry=retry, certificate_interval=0.05, on_outcome=outcomes.append
    )
    task = asyncio.create_task(balancer.run())
    job = Work(town, world, recorder, balancer, outcomes)
    try:
        balancer.heard(world.apply(Full(epoch="e", revision=1, objects=town.objects(), host="h1")))
        yield job
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def place() -> Town:
    town = Town()
    town.service("shop/web", ["10.0.0.1", "10.0.0.2"])
    town.service("shop/other", ["10.0.1.1"])
    town.balance(rule(80, "shop/web"))
    return town


async def test_only_what_matters_causes_work() -> None:
    async with work(place()) as job:
        await job.applied()
        job.town.container("shop/other", "10.0.1.2")
        job.town.services["late/one"] = Service(uuid="x", name="one", stack_name="late", state="active")
        job.change()
        await asyncio.sleep(0.02)
        assert len(job.recorder.applied) == 1

        job.town.container("shop/web", "10.0.0.3")
        job.change()
        await job.applied()
        assert sorted(job.recorder.weights()) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

        job.town.extra.append(Stack(uuid="new", name="new"))
        job.change()
        await job.applied()


async def test_a_service_that_was_missing_is_taken_in_when_it_appears() -> None:
    town = place()
    town.balance(rule(80, "shop/late"), rule(81, selector="tier=front"))
    async with work(town) as job:
        await job.applied()
        assert job.recorder.applied[-1].frontends == ()
        assert len(job.balancer.status()["problems"]) == 1  # type: ignore[arg-type]
        job.town.service("shop/late", ["10.0.2.1"])
        job.change()
        await job.applied()
        job.town.service("shop/chosen", ["10.0.2.2"], labels={"tier": "front"})
        job.change()
        await job.applied()
        assert sorted(job.recorder.weights()) == ["10.0.2.1", "10.0.2.2"]
        assert job.balancer.status()["problems"] == ()


async def test_a_refusal_is_shown_and_tried_again() -> None:
    async with work(place(), retry=0.02) as job:
        await job.applied()
        job.recorder.refusal = "unknown keyword"
        job.town.container("shop/web", "10.0.0.3")
        job.change()
        async with asyncio.timeout(60):
            while job.balancer.status()["error"] != "unknown keyword":
                await asyncio.sleep(0)
        job.recorder.refusal = ""
        await job.applied()
        assert job.balancer.status()["error"] == ""
        assert "10.0.0.3" in job.recorder.weights()
        assert list(dict.fromkeys(job.outcomes)) == ["", "unknown keyword"]
        assert job.outcomes[-1] == ""


async def test_a_drained_target_gets_nothing_until_it_runs_anew() -> None:
    async with work(place()) as job:
        await job.applied()
        job.recorder.open_sessions["10.0.0.1"] = 1
        drain = asyncio.create_task(job.balancer.drain("10.0.0.1", 20))
        await job.applied()
        assert job.recorder.weights() == {"10.0.0.1": 0, "10.0.0.2": 1}
        assert not drain.done()
        job.recorder.open_sessions.clear()
        assert await asyncio.wait_for(drain, 2)

        del job.town.containers["shop/web-10.0.0.1"]
        job.town.container("shop/web", "10.0.0.1", start_count=2)
        job.change()
        await job.applied()
        assert job.recorder.weights() == {"10.0.0.1": 1, "10.0.0.2": 1}


async def test_a_drain_ends_when_its_time_is_over() -> None:
    async with work(place()) as job:
        await job.applied()
        job.recorder.open_sessions["10.0.0.1"] = 1
        assert await asyncio.wait_for(job.balancer.drain("10.0.0.1", 0.05), 2)


async def test_only_the_newest_request_to_drain_is_answered() -> None:
    async with work(place()) as job:
        await job.applied()
        job.recorder.open_sessions["10.0.0.1"] = 1
        first = asyncio.create_task(job.balancer.drain("10.0.0.1", 20))
        await job.applied()
        second = asyncio.create_task(job.balancer.drain("10.0.0.1", 20))
        assert await asyncio.wait_for(first, 2) is False
        job.recorder.open_sessions.clear()
        assert await asyncio.wait_for(second, 2) is True


async def test_an_address_that_nobody_balances_is_answered_at_once() -> None:
    async with work(place()) as job:
        await job.applied()
        assert await asyncio.wait_for(job.balancer.drain("10.9.9.9", 20), 2)


def test_a_target_that_was_not_stopped_after_all_comes_back() -> None:
    town = place()
    world, drains = town.world(), Drains()
    entry = drains.begin("10.0.0.1", world)
    assert drains.names(world, 1000.0) == {server_name("10.0.0.1")}
    assert drains.next_look(1000.0) is None
    entry.ended = 1000.0
    assert drains.next_look(1010.0) == RESTORE_SECONDS - 10
    assert drains.names(world, 1000.0 + RESTORE_SECONDS) == {server_name("10.0.0.1")}
    assert drains.names(world, 1001.0 + RESTORE_SECONDS) == frozenset()


def test_a_drained_target_that_is_gone_is_forgotten() -> None:
    town = place()
    drains = Drains()
    drains.begin("10.0.0.1", town.world()).ended = 5.0
    del town.containers["shop/web-10.0.0.1"]
    assert drains.names(town.world(), 6.0) == frozenset()


async def test_certificates_are_read_again(make_certificate: dict[str, str]) -> None:
    answers = {"main": make_certificate["one"]}

    async def fetch(name: str) -> str | None:
        if "down" in answers:
            raise ConnectionFailed("the server is away")
        return answers.get(name)

    town = place()
    town.balance(rule(443, "shop/web", protocol="https"), certs=("alt",), default_cert="main")
    async with work(town, CertificateSource(fetch)) as job:
        await job.applied()
        assert dict(job.recorder.bundles[-1].files) == {"main.pem": make_certificate["one"]}
        assert job.recorder.bundles[-1].default == "main.pem"
        assert "'alt' does not exist" in str(job.balancer.status()["problems"])

        answers["main"] = make_certificate["two"]
        async with asyncio.timeout(60):
            while job.recorder.bundles[-1].files["main.pem"] != make_certificate["two"]:
                await job.applied()

        answers["down"] = "yes"
        await job.applied()
        await job.applied()
        assert job.recorder.bundles[-1].files["main.pem"] == make_certificate["two"]
        assert "away" in str(job.balancer.status()["problems"])
