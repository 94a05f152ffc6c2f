"""From a user name and password to an API key, and from an old password to a new one.

A login token lives for hours; a key lives until it is deleted, can be named, listed and revoked on its own, and
the password is never stored. So the command line logs in once, makes a key for the account and keeps only that.
"""

from __future__ import annotations

from dataclasses import dataclass

from drover.client.api import ApiClient
from drover.client.errors import ClientError
from drover.client.resource import Resource
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
    return (await _login(url, username, password, timeout)).text("jwt")


async def change_password(url: str, username: str, old: str, new: str, *, timeout: float = 30.0) -> None:
    """Give a local user another password. Raises AuthenticationFailed when the old one is wrong."""
    login = await _login(url, username, old, timeout)
    account = login.text("authenticatedAsAccountId") or login.text("accountId")
    async with ApiClient(url, token=login.text("jwt"), timeout=timeout) as client:
        own = client.unscoped()
        passwords = await own.list("password", {"accountId": account, "removed_null": 1})
        if len(passwords) != 1:
            raise ClientError(f"{username} logs in without a password of this server: change it where it is kept")
        await own.action(passwords[0], "changesecret", {"oldSecret": old, "newSecret": new})


async def _login(url: str, username: str, password: str, timeout: float) -> Resource:
    async with ApiClient(url, timeout=timeout) as client:
        answer = await client.unscoped().create("token", {"code": f"{username}:{password}"})
    if not answer.text("jwt"):
        raise ClientError("the server accepted the login but sent no token: is access control configured?")
    return answer


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
