"""From a user name and password to an API key.

A login token lives for hours; a key lives until it is deleted, can be named, listed and revoked on its own, and
the password is never stored. So the command line logs in once, makes a key for the account and keeps only that.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.wait import in_state


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key pair; the secret is shown by the server only once."""

    access_key: str
    secret_key: str

    def __repr__(self) -> str:
        return f"ApiKey({self.access_key})"


async def login_token(url: str, username: str, password: str, *, timeout: float = 30.0) -> str:
    """A session token for a user. Raises AuthenticationFailed for a wrong name or password."""
    async with ApiClient(url, timeout=timeout) as client:
        answer = await client.unscoped().create("token", {"code": f"{username}:{password}"})
    token = answer.text("jwt")
    if not token:
        raise ClientError("the server accepted the login but sent no token: is access control configured?")
    return token


async def create_api_key(client: ApiClient, *, name: str, description: str = "") -> ApiKey:
    """A key of the account that the client is logged in as."""
    account = client.unscoped()
    created = await account.create("apiKey", {"name": name, "description": description})
    access_key, secret_key = created.text("publicValue"), created.text("secretValue")
    if not access_key or not secret_key:
        raise ClientError("the server created an API key without showing it: may this account create keys?")
    if created.transitioning:
        await account.wait(created, in_state("active"), timeout=60)
    return ApiKey(access_key, secret_key)
