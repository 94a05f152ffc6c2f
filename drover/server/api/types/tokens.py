"""Logging in and out: ``POST /token`` with ``user:password`` opens a session, ``DELETE /token/current`` ends it.

The answers to a wrong name, a wrong password and a disabled account are the same and take the same time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from starlette.responses import Response

from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.basic import session_keys
from drover.server.api.auth.directory import usable
from drover.server.api.call import Call
from drover.server.api.caller import Identity
from drover.server.api.errors import ApiError
from drover.server.api.extensions import Extensions, Output
from drover.server.api.types.projects import plan_project
from drover.server.orchestration.credentials import hash_password, needs_new_hash, password_matches
from drover.server.orchestration.seed import LOCAL_PROVIDER
from drover.server.resources import Schema
from drover.server.store import Record

log = structlog.get_logger(__name__)

PEOPLE = ("admin", "user", "readAdmin", "superadmin")

_RESET_COOKIE = "token=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax"


def install(extensions: Extensions, access: AccessControl) -> None:
    tokens = Tokens(access)
    extensions.creates("token")(tokens.log_in)
    extensions.lists("token")(tokens.show)
    extensions.reads("token")(tokens.read)
    extensions.removes("token")(tokens.log_out)


class Tokens:
    """The type ``token``, which is no row: a session seen from outside."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access
        self._store = access.context.store
        self._settings = access.context.settings

    async def log_in(self, call: Call, schema: Schema, values: Mapping[str, Any]) -> Output:
        if self._provider() != LOCAL_PROVIDER:
            raise ApiError(500, "NoAuthProvider", "No login provider is configured: start the server with --auth local")
        login, colon, password = str(values.get("code") or "").partition(":")
        if not colon or not login:
            raise ApiError(400, "codeInvalid", "The code must be <user>:<password>")
        self._require_patience(login, call.client_ip)
        account, credential = await self._find(login)
        stored = str(credential["secretValue"]) if credential is not None else None
        right = await password_matches(stored, password)
        if not right or account is None or credential is None:
            self._access.limiter.failed(login, call.client_ip)
            log.warning("login.failed", login=login[:64], address=call.client_ip)
            raise ApiError(401, "IncorrectPassword", "Username or Password incorrect")
        self._access.limiter.succeeded(login, call.client_ip)
        if stored is not None and needs_new_hash(stored):
            await self._store_again(credential, password)
        await self._give_first_project(account, login)
        key = await self._access.sessions.open(account.id, provider=LOCAL_PROVIDER)
        log.info("login", account_id=account.id, address=call.client_ip)
        return self._token(account, login=login, key=key)

    def _require_patience(self, login: str, address: str) -> None:
        wait = self._access.limiter.wait_seconds(login, address)
        if wait > 0:
            seconds = math.ceil(wait)
            raise ApiError(
                429,
                None,
                f"Too many failed logins; try again in {seconds} seconds",
                headers={"Retry-After": str(seconds)},
            )

    async def _find(self, login: str) -> tuple[Record | None, Record | None]:
        rows = await self._store.find_by("credential", kind="password", publicValue=login, removed=None)
        active = [row for row in rows if usable(row)]
        if len(active) > 1:
            raise ApiError(409, "MultipleOfUsername", "Several accounts have this login; an administrator must fix it")
        if not active or active[0].account_id is None:
            return None, None
        account = await self._access.directory.account(active[0].account_id)
        if account is None or not usable(account) or account.kind not in PEOPLE:
            return None, active[0]
        return account, active[0]

    async def _store_again(self, credential: Record, password: str) -> None:
        changes = self._store.changes()
        changes.guard(credential, secretValue=credential["secretValue"])
        changes.update(credential, {"secretValue": await hash_password(password)})
        await self._store.commit(changes)

    async def _give_first_project(self, account: Record, login: str) -> None:
        """Rancher 1.6: who has nowhere to work gets an environment at the first login."""
        if account.kind != "user" or not self._settings.bool("project.create.default"):
            return
        if await self._access.directory.memberships(self._access.directory.identities(account)):
            return
        changes = self._store.changes()
        owner = ("rancher_id", str(account.id), "owner")
        plan_project(self._access.context, changes, {"name": f"{login}-Default"}, [owner])
        await self._store.commit(changes)

    async def show(self, call: Call, schema: Schema) -> Sequence[Output]:
        return [await self._current(call)]

    async def read(self, call: Call, schema: Schema, text: str) -> Output:
        return await self._current(call)

    async def _current(self, call: Call) -> Output:
        for key in session_keys(call.connection) if call.connection is not None else ():
            session = await self._access.sessions.find(key)
            account_id = session.account_id if session is not None else None
            account = await self._access.directory.account(account_id) if account_id is not None else None
            if account is not None and usable(account):
                return self._token(account, login=account.name, key=key)
        return Output(type="token", values=self._state())

    async def log_out(self, call: Call, schema: Schema, text: str) -> Response:
        for key in session_keys(call.connection) if call.connection is not None else ():
            await self._access.sessions.close(key)
        return Response(status_code=204, headers={"Set-Cookie": _RESET_COOKIE})

    def _provider(self) -> str:
        return self._settings.get("api.auth.provider.configured")

    def _state(self) -> dict[str, Any]:
        secured = self._settings.bool("api.security.enabled")
        provider = self._provider()
        return {
            "accountId": None,
            "authProvider": provider if provider != "none" else None,
            "authenticatedAsAccountId": None,
            "enabled": secured,
            "identities": None,
            "jwt": None,
            "originalLogin": None,
            "redirectUrl": None,
            "security": secured,
            "user": None,
            "userIdentity": None,
            "userType": None,
        }

    def _token(self, account: Record, *, login: str | None, key: str) -> Output:
        identities = self._access.directory.identities(account)
        return Output(
            type="token",
            values={
                **self._state(),
                "accountId": f"1a{account.id}",
                "authenticatedAsAccountId": f"1a{account.id}",
                "identities": [identity_values(each) for each in identities],
                "jwt": key,
                "originalLogin": login,
                "user": login,
                "userIdentity": identity_values(identities[-1]),
                "userType": account.kind,
            },
        )


def identity_values(identity: Identity) -> dict[str, Any]:
    """An identity as the API shows it inside another resource."""
    return {
        "id": identity.id,
        "type": "identity",
        "all": None,
        "externalId": identity.external_id,
        "externalIdType": identity.external_id_type,
        "login": identity.login,
        "name": identity.name,
        "profilePicture": None,
        "profileUrl": None,
        "projectId": None,
        "role": None,
        "user": identity.user,
    }
