"""What a request says about who sends it: cookies, headers and query, taken apart but not yet believed."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

SESSION_KEY_LENGTH = 40

_LONGEST_HEADER = 8192
_BEARER_USER = "x-api-bearer"


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User name and password of HTTP Basic."""

    user: str
    password: str = field(repr=False)

    @property
    def bearer_project(self) -> str | None:
        """The project id in a user name ``X-API-BEARER=<id>``; empty when none is named, None for other users."""
        name, _, project = self.user.partition("=")
        return project if name.lower() == _BEARER_USER else None


def basic_credentials(connection: HTTPConnection) -> BasicCredentials | None:
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or len(value) > _LONGEST_HEADER:
        return None
    try:
        decoded = base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    user, colon, password = decoded.partition(":")
    return BasicCredentials(user, password) if colon else None


def session_keys(connection: HTTPConnection) -> list[str]:
    """What may be the key of a log-in session, the most trustworthy place first: cookie, header, query."""
    found = [connection.cookies.get("token", "")]
    header = connection.headers.get("authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    elif header and not value:
        found.append(header.strip())
    found.append(connection.query_params.get("token", ""))
    return [key for key in found if len(key) == SESSION_KEY_LENGTH and key.isascii() and key.isalnum()]


def client_address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else ""
