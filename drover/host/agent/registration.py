"""From a registration URL to the agent's own keys.

The URL serves a shell script. It is read as text, never run: four `export NAME="value"` lines say where the
server is and how to register. The same host token always gets the same agent and keys, so registering again after
a crash, or at every start, changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from drover.common.backoff import Backoff
from drover.host.agent.errors import RegistrationError
from drover.host.agent.server import Server, ServerClock, ServerError, api_root, read_body

log = structlog.get_logger(__name__)

SCRIPT_LIMIT = 256 * 1024
SCRIPT_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=15)
KEYS_TIMEOUT = 300.0
SHEBANG = "#!/bin/sh"

_EXPORT = re.compile(r'^(?:export\s+)?([A-Z_][A-Z0-9_]*)="([^"]*)"\s*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RegistrationScript:
    """What the script says. `token` is the right to register hosts: a secret."""

    url: str
    access_key: str
    token: str
    detected_ip: str | None

    def __repr__(self) -> str:
        return f"RegistrationScript(url={self.url!r}, detected_ip={self.detected_ip!r})"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The agent's keys for one server. `detected_ip` is this host's address as the server sees it."""

    url: str
    access_key: str
    secret_key: str
    detected_ip: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, access_key={self.access_key!r})"


class _Register(msgspec.Struct, rename="camel"):
    id: str | int | None = None
    state: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    transitioning: str | None = None
    transitioning_message: str | None = None


class _Registers(msgspec.Struct):
    data: list[_Register] = []


async def register(
    session: aiohttp.ClientSession, registration_url: str, *, host_token: str, clock: ServerClock
) -> Credentials:
    """Registers this host, waiting for the server as long as it takes.

    Raises RegistrationError when the server refuses: the URL was revoked, or belongs to another address.
    """
    backoff = Backoff()
    while True:
        try:
            script = await fetch_script(session, registration_url, clock=clock)
            return await _register(session, script, host_token=host_token, clock=clock)
        except ServerError as error:
            if 400 <= error.status < 500 and error.status not in (408, 409, 429):
                raise RegistrationError(
                    f"{error}. Get a new registration command from the server (Infrastructure, Add Host)"
                ) from error
            reason = str(error)
        delay = backoff.next_delay()
        log.warning("registration.waiting", reason=reason, retry_in=round(delay, 1))
        await asyncio.sleep(delay)


def check_reachable_by_containers(registration_url: str) -> None:
    """An address that means "this machine" is of no use to an agent that runs elsewhere."""
    host = urlsplit(registration_url).hostname or ""
    if host in ("localhost", "127.0.0.1", "::1"):
        raise RegistrationError(
            f"{host} is not an address of the server that a container can use: set the host registration URL "
            "to the server's name or address and copy the command again"
        )


def check_agent_ip(address: str | None) -> None:
    """Raises RegistrationError unless it is an IPv4 address that other hosts may reach."""
    if address is None:
        return
    octets = address.split(".")
    valid = len(octets) == 4 and all(octet.isdecimal() and int(octet) <= 255 for octet in octets)
    if not valid or octets[0] == "127" or address in ("0.0.0.0", "255.255.255.255"):  # noqa: S104 - refused
        raise RegistrationError(f"CATTLE_AGENT_IP={address} is not an IPv4 address that other hosts can reach")


async def fetch_script(
    session: aiohttp.ClientSession, registration_url: str, *, clock: ServerClock
) -> RegistrationScript:
    """Reads the script behind the URL. Raises ServerError when it cannot be had."""
    try:
        async with session.get(registration_url, timeout=SCRIPT_TIMEOUT) as response:
            clock.learn(response.headers.get("Date"))
            content = await read_body(response, SCRIPT_LIMIT)
    except aiohttp.InvalidURL as error:
        raise RegistrationError(f"{registration_url!r} is not a URL") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ServerError(0, f"cannot reach {api_root(registration_url)}: {error or 'timeout'}") from error
    if response.status >= 400:
        raise ServerError(
            response.status,
            f"{api_root(registration_url)} refused the registration URL ({response.status})",
        )
    return parse_script(content.decode("utf-8", "replace"), registration_url)


def parse_script(text: str, registration_url: str) -> RegistrationScript:
    """Raises RegistrationError for anything that is not a registration script of this server."""
    if not text.startswith(SHEBANG):
        raise RegistrationError(
            f"{api_root(registration_url)} answers, but not with a registration script: use the complete URL "
            "from the server's registration command (…/v1/scripts/…)"
        )
    values = dict(_EXPORT.findall(text))
    base = values.get("CATTLE_URL_OVERRIDE") or values.get("CATTLE_URL") or ""
    token = values.get("CATTLE_REGISTRATION_SECRET_KEY") or ""
    if not base or not token:
        raise RegistrationError("the registration script lacks the server's URL or the registration key")
    given = registration_url.partition("/scripts/")[0].rstrip("/")
    if not values.get("CATTLE_URL_OVERRIDE") and given.endswith("/v1") and given != base.rstrip("/"):
        raise RegistrationError(
            f"Host Registration URL does not match: the command says {given}, the server says {base}. "
            "Set the host registration URL of the server and copy the command again"
        )
    return RegistrationScript(
        url=base.rstrip("/"),
        access_key=values.get("CATTLE_REGISTRATION_ACCESS_KEY") or "registrationToken",
        token=token,
        detected_ip=values.get("DETECTED_CATTLE_AGENT_IP") or None,
    )


async def _register(
    session: aiohttp.ClientSession, script: RegistrationScript, *, host_token: str, clock: ServerClock
) -> Credentials:
    server = Server(session, script.url, user=script.access_key, password=script.token, clock=clock)
    found = await _find(server, host_token)
    if found is None:
        await server.post("register", {"key": host_token})
    try:
        async with asyncio.timeout(KEYS_TIMEOUT):
            keys = await _wait_for_keys(server, host_token)
    except TimeoutError:
        raise ServerError(0, f"the server has not made keys for this host in {KEYS_TIMEOUT:.0f} s") from None
    return Credentials(
        url=script.url,
        access_key=keys.access_key or "",
        secret_key=keys.secret_key or "",
        detected_ip=script.detected_ip,
    )


async def _wait_for_keys(server: Server, host_token: str) -> _Register:
    """The keys show in the list once the register resource is active."""
    delay = 0.1
    while True:
        found = await _find(server, host_token)
        if found is not None and found.access_key and found.secret_key:
            return found
        if found is not None and found.transitioning == "error":
            raise RegistrationError(f"The server could not register this host: {found.transitioning_message}")
        await asyncio.sleep(delay)
        delay = min(2.0, delay * 2)


async def _find(server: Server, host_token: str) -> _Register | None:
    answer: Any = await server.get("register", params={"key": host_token})
    try:
        rows = msgspec.convert(answer, _Registers, strict=False).data
    except msgspec.ValidationError as error:
        raise ServerError(0, f"unexpected answer to the registration: {error}") from error
    live = [row for row in rows if row.state not in ("removed", "removing", "purged")]
    return next((row for row in live if row.access_key), live[0] if live else None)
