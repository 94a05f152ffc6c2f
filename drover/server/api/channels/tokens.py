"""Stream tokens: who holds one may open exactly the stream it names, once, for a short while.

The token is a JWT that the agent verifies, too; its claims are those of Rancher 1.6. That it works only once is ours:
a token that leaks through a log or a proxy is worth nothing after its stream was opened.
"""

from __future__ import annotations

import heapq
import time
import uuid
from collections.abc import Mapping
from typing import Any

from drover.server.orchestration.host_api_keys import TOKEN_SECONDS, HostApiKeys, InvalidToken


class StreamTokens:
    """Issues and redeems tokens."""

    def __init__(self, keys: HostApiKeys) -> None:
        self._keys = keys
        self._used: set[str] = set()
        self._forget_at: list[tuple[float, str]] = []

    def issue(self, claims: Mapping[str, Any], *, seconds: float = TOKEN_SECONDS) -> str:
        return self._keys.sign({**claims, "jti": str(uuid.uuid4())}, seconds=seconds)

    def redeem(self, token: str) -> dict[str, Any]:
        """The claims of a token that is genuine, in time and not used before. Raises InvalidToken."""
        claims = self._keys.verify(token)
        token_id = str(claims.get("jti") or token)
        now = time.time()
        while self._forget_at and self._forget_at[0][0] < now:
            self._used.discard(heapq.heappop(self._forget_at)[1])
        if token_id in self._used:
            raise InvalidToken("this token was used already: ask the API for a new one")
        self._used.add(token_id)
        # Kept a little longer than it is valid: verification forgives a minute of clock difference.
        heapq.heappush(self._forget_at, (float(claims["exp"]) + 120, token_id))
        return claims

    def read(self, token: str) -> dict[str, Any]:
        """As :meth:`redeem`, for tokens that may be used again (an agent that re-opens its tunnel)."""
        return self._keys.verify(token)
