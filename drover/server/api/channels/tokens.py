"""Stream tokens: who holds one may open exactly the stream it names, once, for a short while.

The token is a JWT that the agent verifies, too; its claims are those of Rancher 1.6. That it works only once is ours:
a token that leaks through a log or a proxy is worth nothing after its stream was opened.
"""

from __future__ import annotations

import heapq
import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

LIFE_SECONDS = 300
ISSUER = "http://cattle.io"


class TokenKeys(Protocol):
    """The server's key pair for streams."""

    def sign(self, claims: Mapping[str, Any]) -> str: ...

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a genuine token; raises ValueError for any other. Expiry is checked by the caller."""


class StreamTokens:
    """Issues and redeems tokens."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self._used: set[str] = set()
        self._forget_at: list[tuple[float, str]] = []

    def issue(self, claims: Mapping[str, Any], *, life: int = LIFE_SECONDS) -> str:
        now = int(time.time())
        standard = {"sub": "cattle", "iss": ISSUER, "iat": now, "exp": now + life, "kid": "default"}
        return self._keys.sign({**claims, **standard, "jti": str(uuid.uuid4())})

    def redeem(self, token: str) -> dict[str, Any]:
        """The claims of a token that is genuine, in time and not used before; else ValueError, with the reason."""
        claims = self.read(token)
        token_id = str(claims.get("jti") or token)
        now = time.time()
        while self._forget_at and self._forget_at[0][0] < now:
            self._used.discard(heapq.heappop(self._forget_at)[1])
        if token_id in self._used:
            raise ValueError("this token was used already: ask for a new one")
        self._used.add(token_id)
        heapq.heappush(self._forget_at, (float(claims["exp"]), token_id))
        return claims

    def read(self, token: str) -> dict[str, Any]:
        """As :meth:`redeem`, for tokens that may be used again (an agent that re-opens its tunnel)."""
        claims = self._keys.verify(token)
        expires = claims.get("exp")
        if not isinstance(expires, int | float) or expires < time.time():
            raise ValueError("this token has expired: ask for a new one")
        return claims
