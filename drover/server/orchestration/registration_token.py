"""The text that lets a machine join an environment: ``<access key>:<milliseconds>:<signature>``.

It is computed, never stored: an HMAC of the registration token's secret over a time stamp that changes once a year.
Revoking the ``registrationToken`` revokes every text made from it. The algorithm is that of Rancher 1.6, because
agents and scripts carry the text around; clients treat it as opaque.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_DROPPED = str.maketrans("", "", "/=+")
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class TokenParts:
    """A token text taken apart; nothing is verified yet."""

    access_key: str
    issued_ms: int
    signature: str


def period_start_ms(now_ms: int) -> int:
    """Midnight (UTC) of 31 December of last year: the time stamp of every token made this year."""
    year = datetime.fromtimestamp(now_ms / 1000, UTC).year
    start = datetime(year, 1, 1, tzinfo=UTC) - timedelta(days=1)
    return int(start.timestamp() * 1000)


def sign(access_key: str, secret: str, issued_ms: int) -> str:
    message = f"{access_key}:{issued_ms}".encode()
    digest = hmac.new(secret.encode(), message, hashlib.sha1).digest()
    return base64.b64encode(digest).decode().translate(_DROPPED)


def make_token(access_key: str, secret: str, now_ms: int) -> str:
    issued = period_start_ms(now_ms)
    return f"{access_key}:{issued}:{sign(access_key, secret, issued)}"


def parse_token(text: str) -> TokenParts | None:
    """The parts of a text of the right shape, else None."""
    parts = text.split(":") if len(text) <= _LONGEST else []
    if len(parts) != 3 or not all(parts) or not parts[1].isascii() or not parts[1].isdigit():
        return None
    return TokenParts(parts[0], int(parts[1]), parts[2])


def token_matches(parts: TokenParts, secret: str, *, now_ms: int, period_ms: int) -> bool:
    """Whether the text was made from this secret and is not older than the period."""
    expected = sign(parts.access_key, secret, parts.issued_ms)
    fresh = now_ms <= parts.issued_ms + period_ms
    return hmac.compare_digest(expected.encode(), parts.signature.encode()) and fresh
