"""`drover balancer`, put together: follow the environment, supervise the proxy, answer requests to drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import structlog

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.subscribe import Notice
from drover.client.world import Container, World
from drover.client.world.follow import follow
from drover.common.backoff import Backoff
from drover.common.lifetime import run_until, stop_signals
from drover.common.status import StatusServer
from drover.host.balancer.balancer import Balancer
from drover.host.balancer.certificates import CertificateSource, pem
from drover.host.balancer.guard import become_guard
from drover.host.balancer.haproxy import HAProxy
from drover.host.balancer.provider import Provider
from drover.host.balancer.render import Layout
from drover.host.balancer.report import Reporter, to_server
from drover.host.balancer.runtime import RuntimeFailed
from drover.host.balancer.settings import BalancerSettings, ProviderName
from drover.host.balancer.traffic_log import receiving

DRAIN_EVENT = "target.drain"
_DEFAULT_DRAIN_SECONDS = 15.0

log = structlog.get_logger(__name__)


class Drainer(Protocol):
    """Whoever can let go of an address; see Balancer.drain."""

    async def drain(self, address: str, seconds: float) -> bool: ...


async def run_balancer(settings: BalancerSettings) -> None:
    """Serve until SIGTERM. The proxy itself is ended then, gently, unless it shall be left running."""
    if settings.guard:
        become_guard()
    world = World()
    provider = make_provider(settings)
    address = _metadata_address(settings.metadata_address)
    async with stop_signals() as stop, AsyncExitStack() as stack:
        source = CertificateSource(_no_certificates, cert_file=settings.cert_file_name, key_file=settings.key_file_name)
        if settings.server_url and settings.environment_access_key:
            client = await stack.enter_async_context(
                ApiClient(settings.server_url, settings.environment_access_key, settings.environment_secret_key)
            )
            source = CertificateSource(
                ServerCertificates(client).fetch, cert_file=settings.cert_file_name, key_file=settings.key_file_name
            )
        works: list[Coroutine[Any, Any, None]] = []
        on_outcome: Callable[[str], None] = _nobody_hears
        if settings.server_url and settings.agent_access_key:
            agent = ApiClient(settings.server_url, settings.agent_access_key, settings.agent_secret_key)
            reporter = Reporter(to_server((await stack.enter_async_context(agent)).unscoped()))
            works.append(reporter.run())
            on_outcome = reporter.outcome
        balancer = Balancer(
            world,
            provider,
            source,
            Own(address, settings.container).find,
            retry=settings.retry_interval,
            certificate_interval=settings.certs_poll_interval,
            on_outcome=on_outcome,
        )
        await stack.enter_async_context(receiving())
        for listen in filter(None, (settings.healthz_listen, settings.status_listen)):
            await stack.enter_async_context(StatusServer(listen, balancer.status))
        works += [provider.run(), _follow(address, world, balancer), balancer.run()]
        if settings.server_url and settings.agent_access_key:
            works.append(answer_drains(settings, balancer))
        await run_until(stop, *works)
        if not settings.leave_running:
            await provider.stop(settings.stop_grace)


def make_provider(settings: BalancerSettings) -> Provider:
    folder = settings.config_dir or Path("/etc") / settings.provider.value
    if settings.provider is ProviderName.NGINX:
        from drover.host.balancer.nginx import Nginx, NginxLayout

        return Nginx(NginxLayout(folder, settings.run_dir, health_bind=settings.health_bind))
    return HAProxy(Layout.standard(folder, settings.run_dir, health_bind=settings.health_bind))


class Own:
    """Finds the container that this program runs in."""

    def __init__(self, metadata_address: str, uuid: str | None = None) -> None:
        self._metadata = metadata_address
        self._uuid = uuid

    async def find(self, world: World) -> Container | None:
        if self._uuid is None:
            found = self._by_address(world)
            self._uuid = found.uuid if found is not None else await self._ask()
        return world.containers.get(self._uuid) if self._uuid is not None else None

    def _by_address(self, world: World) -> Container | None:
        """By the address that this machine talks to metadata from; containers of other hosts may have the same."""
        host = urlsplit(self._metadata)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host.hostname or "", host.port or 80))
            except OSError:
                return None
            address = probe.getsockname()[0]
        matching = [
            each
            for each in world.containers.values()
            if each.primary_ip == address and each.state in ("running", "starting") and each.host_uuid == world.host
        ]
        return matching[0] if len(matching) == 1 else None

    async def _ask(self) -> str | None:
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                answer = await session.get(f"{self._metadata}/2016-07-29/self/container/uuid")
                return (await answer.text()).strip() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError) as error:
            log.debug("balancer.own_unknown", reason=repr(error))
            return None


class ServerCertificates:
    """Certificates of the environment that a key belongs to."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def fetch(self, name: str) -> str | None:
        found = await self._client.unscoped().find("certificate", {"name": name})
        if found is None:
            return None
        return pem(*(str(found.get(field) or "") for field in ("key", "cert", "certChain")))


def _nobody_hears(problem: str) -> None:
    """Without a key there is nobody to tell; log and status page have it."""


async def _no_certificates(name: str) -> str | None:
    raise ClientError(
        "no key of the environment is set (CATTLE_URL, CATTLE_ENVIRONMENT_ADMIN_ACCESS_KEY, ..._SECRET_KEY)"
    )


async def _follow(address: str, world: World, balancer: Balancer) -> None:
    async with aclosing(follow(address, world)) as deltas:
        async for delta in deltas:
            balancer.heard(delta)


async def answer_drains(settings: BalancerSettings, balancer: Drainer) -> None:
    """Take requests to drain for as long as the server accepts the key."""
    backoff = Backoff(initial=1.0, maximum=60.0)
    while True:
        try:
            async with (
                ApiClient(settings.server_url or "", settings.agent_access_key, settings.agent_secret_key) as scoped,
                asyncio.TaskGroup() as group,
            ):
                client = scoped.unscoped()
                async for event in client.subscribe((DRAIN_EVENT, "ping")):
                    if isinstance(event, Notice) and event.name.partition(";")[0] == DRAIN_EVENT:
                        group.create_task(_answer(client, balancer, event))
        except* ClientError as errors:
            log.warning("balancer.drain_channel_lost", reason=str(errors.exceptions[0]))
        await asyncio.sleep(backoff.next_delay())


async def _answer(client: ApiClient, balancer: Drainer, event: Notice) -> None:
    """Drain, then say so; a failure is said too, so that the server need not wait."""
    data = event.data or {}
    address, seconds = data.get("targetIPaddress"), _seconds(data.get("drainTimeout"))
    reply: dict[str, Any] = {
        "name": event.reply_to,
        "previousIds": [event.id],
        "resourceType": event.resource_type,
        "resourceId": event.resource_id,
    }
    try:
        if address and not await balancer.drain(str(address), seconds):
            return
    except RuntimeFailed as error:
        log.warning("balancer.drain_failed", address=address, reason=str(error))
    if event.reply_to is None:
        return
    try:
        await client.transport.request("POST", f"{client.address.api}/publish", body=reply)
    except ClientError as error:
        log.warning("balancer.drain_not_answered", address=address, reason=str(error))


def _seconds(value: object) -> float:
    """From text or a number of milliseconds."""
    with suppress(TypeError, ValueError):
        milliseconds = float(str(value))
        if 0 <= milliseconds <= 3_600_000:
            return milliseconds / 1000
    return _DEFAULT_DRAIN_SECONDS


def _metadata_address(text: str) -> str:
    return text.rstrip("/") if "://" in text else f"http://{text}"
