"""Stream tokens: the server's word that somebody may read this log or open that shell.

RS256 with the server's key. The host's clock may be wrong: expiry is judged by the server's time as last seen in
its answers, with some leeway. When a signature fails, the key is fetched once more, since servers may change it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from drover.host.agent.errors import AgentError
from drover.host.agent.server import ServerClock

log = structlog.get_logger(__name__)

LEEWAY = 60.0
REFETCH_PAUSE = 10.0
MAX_TOKEN = 64 * 1024

FetchKey = Callable[[], Awaitable[str]]


class TokenRefused(AgentError):
    """The token does not open this stream; the text may be shown to its bearer."""


class TokenVerifier:
    """Checks stream tokens for one host."""

    def __init__(
        self,
        fetch_key: FetchKey,
        *,
        host_uuid: str,
        clock: ServerClock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch_key = fetch_key
        self._host_uuid = host_uuid
        self._clock = clock
        self._monotonic = monotonic
        self._key: RSAKey | None = None
        self._fetched = -REFETCH_PAUSE

    async def refresh(self) -> None:
        """Fetches the server's key. Raises AgentError when it cannot be had."""
        pem = await self._fetch_key()
        try:
            self._key = RSAKey.import_key(pem)
        except (ValueError, JoseError) as error:
            raise AgentError(f"the server's stream key is not a PEM public key: {error}") from error
        self._fetched = self._monotonic()

    async def verify(self, token: str, *, this_host_only: bool) -> dict[str, Any]:
        """The token's claims. Raises TokenRefused."""
        if not token or len(token) > MAX_TOKEN:
            raise TokenRefused("no token: open the stream with the URL and token that the API returned")
        claims = await self._decode(token)
        expiry = claims.get("exp")
        if isinstance(expiry, (int, float)) and expiry + LEEWAY < self._clock.now():
            raise TokenRefused("the token has expired: ask the API for a new one")
        # Statistics are sometimes asked for without naming a host; a wrong name is never right.
        host = claims.get("hostUuid", None if this_host_only else self._host_uuid)
        if host != self._host_uuid:
            raise TokenRefused("the token is for another host")
        return claims

    async def _decode(self, token: str) -> dict[str, Any]:
        if self._key is None:
            await self.refresh()
        try:
            return self._claims(token)
        except (JoseError, ValueError) as error:
            if self._monotonic() - self._fetched < REFETCH_PAUSE:
                raise TokenRefused("the token's signature is not the server's") from error
        await self.refresh()
        try:
            return self._claims(token)
        except (JoseError, ValueError) as error:
            raise TokenRefused("the token's signature is not the server's") from error

    def _claims(self, token: str) -> dict[str, Any]:
        if self._key is None:
            raise TokenRefused("the server's key is not known yet: try again")
        return jwt.decode(token, self._key, algorithms=["RS256"]).claims
