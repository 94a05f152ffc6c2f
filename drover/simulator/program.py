"""``drover simulate``: many hosts in one process, each with its own registration, keys and WebSocket.

They do what a real agent does on the wire, so a server cannot tell them from machines; only the containers are
imagined. One process holds several hundred hosts.
"""

from __future__ import annotations

import asyncio
import base64
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import structlog

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.events import CHANNEL_HEADER, CHANNEL_VERSION, PublishFrame, Reply, Request, decode_request, encode
from drover.common.backoff import Backoff
from drover.common.errors import DroverError
from drover.common.settings import setting
from drover.simulator.model import EVENTS, Overrides, SimulatedAgent, SimulatedContainer

log = structlog.get_logger(__name__)

_EXPORT = re.compile(r'^(?:export\s+)?([A-Z_]+)="([^"]*)"\s*$', re.MULTILINE)
_KEYS_SECONDS = 300.0
_SILENCE_SECONDS = 30.0
_STABLE_SECONDS = 1.0
_REGISTER_AT_ONCE = 16
_MEMORY = 64 * 1024**3
_REPORT_WAITS = (0.3, 0.5, 1.0, 1.0, 2.0, 2.0, 2.0, 4.0, 4.0, *((8.0,) * 10))
_UNHEALTHY = "simUnhealthy"  # in the name of a container: nobody says that it is well
_Login = dict[str, str]
_decode_data = msgspec.json.Decoder(dict[str, Any] | None).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """What is simulated, and against which server."""

    url: str = setting(
        default="http://127.0.0.1:8080",
        help="Registration URL of an environment, or the server's address (with keys, or without access control).",
    )
    access_key: str | None = setting(default=None, env=("RANCHER_ACCESS_KEY",), help="API key that may add hosts.")
    secret_key: str | None = setting(default=None, env=("RANCHER_SECRET_KEY",), secret=True, help="Its secret half.")
    environment: str | None = setting(default=None, env=("RANCHER_ENVIRONMENT",), help="Name or id of the environment.")
    hosts: int = setting(default=1, help="How many hosts.")
    name: str = setting(default="sim", help="Beginning of the hosts' names; the same name finds the same hosts again.")
    latency: float = setting(default=0.0, help="Milliseconds that a host takes to answer.")
    jitter: float = setting(default=0.0, help="Up to so many milliseconds more, at random.")
    failure_rate: float = setting(default=0.0, help="Share of container commands that fail, 0 to 1.")
    memory: int = setting(default=_MEMORY, help="Bytes of memory of each host.")
    milli_cpu: int = setting(default=16_000, help="Thousandths of a processor of each host.")


@dataclass(frozen=True, slots=True)
class _Registration:
    """The right to register hosts in one environment."""

    api: str
    token: str


class _Keys(msgspec.Struct, rename="camel"):
    state: str | None = None
    access_key: str | None = None
    secret_key: str | None = None


class _Registers(msgspec.Struct):
    data: list[_Keys] = []


async def run_simulator(settings: SimulatorSettings) -> None:
    """Register the hosts and keep them connected until cancelled. Raises DroverError when the server refuses."""
    if settings.hosts < 1 or not 0 <= settings.failure_rate <= 1:
        raise DroverError("--hosts must be at least 1 and --failure-rate between 0 and 1")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        registration = await _registration(session, settings)
        gate = asyncio.Semaphore(_REGISTER_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for number in range(settings.hosts):
                host = SimulatedHost(session, registration, settings, number)
                group.create_task(host.run(gate), name=f"host-{number}")


class SimulatedHost:
    """One host: its registration, its channel, its imagined containers."""

    def __init__(
        self, session: aiohttp.ClientSession, registration: _Registration, settings: SimulatorSettings, number: int
    ) -> None:
        self._session = session
        self._registration = registration
        self._settings = settings
        self._label = f"{settings.name}-{number}"
        identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{registration.api}/{self._label}")
        self._host_token = identity.hex * 4
        overrides = Overrides(
            memory=settings.memory,
            milli_cpu=settings.milli_cpu,
            ip_address=f"192.168.{number // 250 % 250}.{number % 250 + 1}",
        )
        self._model = SimulatedAgent(str(identity), overrides)
        self._random = random.Random(identity.int)  # noqa: S311 - repeatable failures, not secrets
        self._working: set[asyncio.Task[None]] = set()
        self._keys: _Login = {}

    @property
    def containers(self) -> Mapping[str, SimulatedContainer]:
        """What the host holds now, by the containers' uuid."""
        return self._model.containers

    async def run(self, gate: asyncio.Semaphore) -> None:
        async with gate:
            keys = self._keys = await self._register()
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._session_of(keys)
                reason = "closed by the server"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
            if time.monotonic() - began > _STABLE_SECONDS:
                backoff.reset()
            delay = backoff.next_delay()
            log.info("simulated.connection_lost", host=self._label, reason=reason, retry_in=round(delay, 2))
            await asyncio.sleep(delay)

    async def _register(self) -> _Login:
        """The same host token always gets the same agent, so repeating this does no harm."""
        login = _login("registrationToken", self._registration.token)
        url = f"{self._registration.api}/register"
        deadline = time.monotonic() + _KEYS_SECONDS
        async with self._session.post(url, headers=login, json={"key": self._host_token}) as response:
            if response.status >= 400:
                raise DroverError(f"the server refuses to register hosts ({response.status}): {await response.text()}")
        while True:
            async with self._session.get(url, headers=login, params={"key": self._host_token}) as response:
                response.raise_for_status()
                found = msgspec.json.decode(await response.read(), type=_Registers).data
            for each in found:
                if each.access_key and each.secret_key:
                    return _login(each.access_key, each.secret_key)
            if time.monotonic() > deadline:
                raise DroverError(f"{self._label} got no keys within {_KEYS_SECONDS:.0f} s; see the server's log")
            await asyncio.sleep(0.1)

    async def _session_of(self, login: _Login) -> None:
        url = self._registration.api.replace("http", "ws", 1) + "/subscribe"
        async with self._session.ws_connect(
            url,
            params=[("eventNames", name) for name in EVENTS],
            headers={**login, CHANNEL_HEADER: CHANNEL_VERSION},
            max_msg_size=0,
        ) as socket:
            while True:
                message = await socket.receive(timeout=_SILENCE_SECONDS)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                self._take(socket, decode_request(message.data))

    def _take(self, socket: aiohttp.ClientWebSocketResponse, request: Request) -> None:
        if not request.reply_to or not request.reply_to.startswith("reply."):
            return
        task = asyncio.create_task(self._answer(socket, request))
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, request: Request) -> None:
        settings = self._settings
        if settings.latency or settings.jitter:
            await asyncio.sleep((settings.latency + self._random.uniform(0, settings.jitter)) / 1000)
        data = _decode_data(request.data)
        answer = self._model.answer(request.name, data, now=time.time())
        if answer.silent:
            return
        error = answer.error
        if request.name.startswith("compute.instance.") and self._random.random() < settings.failure_rate:
            error = f"Simulated failure of {request.name}"
        reply = Reply(
            name=str(request.reply_to),
            previous_ids=[request.id],
            resource_type=request.resource_type,
            resource_id=request.resource_id,
            data=msgspec.UNSET if error else answer.data,
            transitioning="error" if error else None,
            transitioning_message=error,
        )
        try:
            await socket.send_str(encode(PublishFrame(reply)).decode())
        except (aiohttp.ClientError, OSError) as lost:
            # The server asks again, under the same id, as soon as this host is back.
            log.debug("simulated.reply_lost", host=self._label, reason=str(lost))
            return
        check = None if error else started_check(request.name, data)
        if check is not None:
            await self._report_up(check)

    async def _report_up(self, check: str) -> None:
        """What the checker of this host would say of a container that runs. The server may take a moment to ask it."""
        report = {"healthcheckUuid": check, "reportedHealth": "UP"}
        for wait in _REPORT_WAITS:
            await asyncio.sleep(wait)
            body = {**report, "externalTimestamp": int(time.time())}
            try:
                async with self._session.post(
                    f"{self._registration.api}/serviceevents", headers=self._keys, json=body
                ) as response:
                    if response.status < 400:
                        return
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.debug("simulated.report_lost", host=self._label, reason=str(error))


def started_check(event: str, data: Mapping[str, Any] | None) -> str | None:
    """The name of the health check that begins when this request has been answered, if it begins one."""
    if event != "compute.instance.activate":
        return None
    placed: Mapping[str, Any] = (data or {}).get("instanceHostMap") or {}
    instance: Mapping[str, Any] = placed.get("instance") or {}
    fields: Mapping[str, Any] = (instance.get("data") or {}).get("fields") or {}
    if not fields.get("healthCheck") or _UNHEALTHY in str(instance.get("name")):
        return None
    host: Mapping[str, Any] = placed.get("host") or {}
    return f"{host.get('uuid')}_{instance.get('uuid')}_{int(instance.get('startCount') or 0) + 1}"


def _login(name: str, password: str) -> _Login:
    return {"Authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


async def _registration(session: aiohttp.ClientSession, settings: SimulatorSettings) -> _Registration:
    url = settings.url if "/scripts/" in settings.url else await _registration_url(settings)
    async with session.get(url) as response:
        text = await response.text()
        if response.status >= 400:
            raise DroverError(f"{url.partition('/scripts/')[0]} refuses the registration URL ({response.status})")
    found = dict(_EXPORT.findall(text))
    try:
        return _Registration(found["CATTLE_URL"].rstrip("/"), found["CATTLE_REGISTRATION_SECRET_KEY"])
    except KeyError as missing:
        raise DroverError(f"{url.partition('/scripts/')[0]} answers, but not with a registration script") from missing


async def _registration_url(settings: SimulatorSettings) -> str:
    """Ask the API for an environment's registration URL, as the page "add a host" does."""
    try:
        async with ApiClient(settings.url, settings.access_key, settings.secret_key, settings.environment) as client:
            tokens = await client.list("registrationToken", {"state": "active"})
            token = tokens[0] if tokens else await client.create("registrationToken", {})
            token = await client.wait(token)
    except ClientError as error:
        raise DroverError(
            f"{settings.url}: {error}; give --access-key and --secret-key of one who may add hosts"
        ) from error
    url = token.get("registrationUrl")
    if not url:
        raise DroverError(f"{settings.url}: this key may not add hosts; use one of an owner of the environment")
    return str(url)
