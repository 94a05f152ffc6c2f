"""`drover dns`, put together: follow the environment (or read a file), answer, and write down what is answered."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import structlog

from drover.client.world import World
from drover.common.errors import SettingsError
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.dns import dump
from drover.host.dns.directory import AGENT_IP, Directory
from drover.host.dns.forward import Forwarder
from drover.host.dns.records import absolute
from drover.host.dns.resolv_conf import outside_servers
from drover.host.dns.responder import Responder, Rules
from drover.host.dns.server import Server
from drover.host.dns.settings import DnsSettings
from drover.host.dns.slim import decode_slim
from drover.host.dns.view import Shared

log = structlog.get_logger(__name__)


async def run_dns(settings: DnsSettings) -> None:
    """Serve until SIGTERM. SIGHUP reads the answers file again."""
    shared = Shared(serial=int(time.time()))
    servers = outside_servers(settings.resolv_conf, excluded=_known(settings.never_recurse_to))
    forwarder = Forwarder(
        timeout=settings.recurser_timeout,
        capacity=settings.cache_capacity,
        ttl_max=settings.cache_ttl_max,
        stale_max=settings.stale_max,
    )
    responder = Responder(shared, forwarder, _rules(settings), servers=servers)
    world = World()
    server = Server(settings.listen, responder)

    def report() -> Mapping[str, object]:
        return {
            "healthy": settings.metadata_server is None or world.loaded,
            "revision": world.revision,
            "records": len(shared.records),
            "clients": len(shared.clients),
            "views": len(shared.views),
            "questions": server.questions,
            "newQuestions": server.new_questions,
            "dropped": server.dropped,
            "asked": forwarder.counters.asked,
            "cacheHits": forwarder.counters.hits,
            "stale": forwarder.counters.stale,
            "unanswered": forwarder.counters.failed,
            "nameServers": {
                name: {"failures": each.failures, "roundTrip": round(each.round_trip, 4)}
                for name, each in forwarder.health.items()
            },
        }

    async with forwarder, StatusServer(settings.status_listen, report):
        if settings.metadata_server is None:
            _load_file(settings, shared)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload_file, settings, shared)
        async with server:
            log.info("dns serves", listen=settings.listen, name_servers=",".join(servers))
            works = []
            if settings.metadata_server is not None:
                works.append(_follow(settings, world, shared))
                if settings.answers is not None:
                    works.append(dump.keep_written(settings.answers, shared, servers))
            await run_until_stopped(*works)
    log.info("dns ends")


async def _follow(settings: DnsSettings, world: World, shared: Shared) -> None:
    from drover.client.world.follow import follow  # brings an HTTP client, which a file does not need

    directory = Directory(
        world, shared, metadata_answer=settings.rancher_metadata_answer, excluded=settings.never_recurse_to
    )
    address = _metadata_address(settings.metadata_server or "")
    first = True
    async with aclosing(follow(address, world, decode=decode_slim)) as deltas:
        async for delta in deltas:
            directory.apply(delta)
            del delta  # the first one names everything there is, and the next one may be long in coming
            if first:
                log.info("records are there", records=len(shared.records), clients=len(shared.clients))
                first = False


def _metadata_address(host: str) -> str:
    return host if "://" in host else f"http://{host}"


def _rules(settings: DnsSettings) -> Rules:
    public = frozenset(absolute(each) for each in settings.public_suffixes)
    return Rules(ttl=settings.ttl, ndots=settings.ndots, suffix_labels=settings.suffix_labels, public=public)


def _known(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in addresses if each != AGENT_IP)


def _load_file(settings: DnsSettings, shared: Shared) -> None:
    from drover.host.dns import answers_file

    path = settings.answers or Path("answers.yaml")
    answers_file.load(path, shared, excluded=settings.never_recurse_to)
    log.info("records read", path=str(path), records=len(shared.records), clients=len(shared.clients))


def _reload_file(settings: DnsSettings, shared: Shared) -> None:
    try:
        _load_file(settings, shared)
    except SettingsError as error:
        log.error("records stay as they were", error=str(error))
