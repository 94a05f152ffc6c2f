"""Keys and passwords: shown once or never, stored so that the database alone gives none of them away."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.directory import ADMIN_KINDS
from drover.server.api.call import Call
from drover.server.api.draft import Draft, WantedClaim
from drover.server.api.errors import ApiError, forbidden, invalid
from drover.server.api.extensions import Extensions, Output
from drover.server.api.types.tokens import PEOPLE
from drover.server.orchestration.credentials import (
    hash_password,
    hash_secret,
    login_claim,
    new_public_value,
    new_secret_value,
    password_matches,
    seal,
    unseal,
)
from drover.server.orchestration.host_api_keys import new_rsa_key, private_pem
from drover.server.store import Record

_MIN_PUBLIC, _MIN_SECRET = 1, 8
_LONGEST_KEY = 256
_UNSAFE_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class Revealed(str):
    """A secret in the clear that may be shown, because the caller has just made it; all others are blanked."""

    __slots__ = ()


def install(extensions: Extensions, access: AccessControl) -> None:
    credentials = Credentials(access)
    extensions.rule("credential")(credentials.judge)
    extensions.computes("credential")(credentials.compute)
    extensions.action("changesecret", "password")(credentials.change_secret)
    extensions.link("certificate", "apiKey")(credentials.certificate)


class Credentials:
    """The kinds of ``credential`` that people make."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access
        self._store = access.context.store

    async def judge(self, draft: Draft) -> None:
        """One place for every kind, on create and on update alike."""
        if draft.record is not None and draft.changes("accountId"):
            raise invalid("InvalidOption", "accountId", "A credential stays with its account; create a new one there")
        match draft.kind:
            case "apiKey":
                await self._judge_api_key(draft)
            case "password":
                await self._judge_password(draft)
            case "registrationToken":
                self._judge_registration_token(draft)
            case "registryCredential" | "sshKey":
                self._encrypt(draft)
            case _ if draft.creating:
                raise invalid("InvalidOption", "kind", "Create an apiKey, a password or a registryCredential instead")
            case _:
                draft.values.pop("secretValue", None)

    # API keys

    async def _judge_api_key(self, draft: Draft) -> None:
        if not draft.creating:
            draft.values.pop("secretValue", None)
            return
        caller = draft.call.caller
        if caller.project_id is not None and not caller.modify_infra:
            raise forbidden("A key of the environment could do more than your role may; create one for your account")
        await self._require_fitting_owner(draft)
        public = draft.values.get("publicValue") or new_public_value()
        secret = draft.values.get("secretValue") or new_secret_value()
        _require_length("publicValue", public, _MIN_PUBLIC)
        _require_length("secretValue", secret, _MIN_SECRET)
        draft.values["publicValue"] = public
        draft.values["secretValue"] = hash_secret(secret, self._access.vault)
        draft.reveal["secretValue"] = Revealed(secret)
        draft.claim(f"key:{public}", field_name="publicValue", message="There is already a key with this public value")

    async def _require_fitting_owner(self, draft: Draft) -> None:
        """Nobody makes a key for more than he is himself."""
        owner_id = draft.get("accountId")
        if owner_id == draft.call.caller.policy_account_id:
            return
        owner = await self._access.directory.account(int(owner_id))
        if owner is None or (owner.kind in ("superadmin", "system") and not draft.call.caller.above_admins):
            raise forbidden("Keys of this account can only be made by a super administrator")

    # Passwords

    async def _judge_password(self, draft: Draft) -> None:
        login, password = draft.values.get("publicValue"), draft.values.pop("secretValue", None)
        if draft.creating:
            await self._require_person(draft)
            if not login or ":" in login:
                raise invalid("MissingRequired", "publicValue", "A password needs a login name without ':'")
            if not password:
                raise invalid("MissingRequired", "secretValue", "A password may not be empty")
        if login and draft.changes("publicValue"):
            taken = ApiError(409, "UsernameIsTaken", f"The login {login!r} is taken; choose another one")
            await self._require_free(login, draft, taken)
            draft.claims.append(WantedClaim(login_claim(login), taken))
        if password and draft.creating:
            draft.values["secretValue"] = await hash_password(password)

    async def _require_free(self, login: str, draft: Draft, taken: ApiError) -> None:
        same = await self._store.first("credential", kind="password", publicValue=login, removed=None)
        if same is not None and (draft.record is None or same.id != draft.record.id):
            raise taken

    async def _require_person(self, draft: Draft) -> None:
        owner_id = draft.get("accountId")
        owner = await self._access.directory.account(int(owner_id)) if owner_id is not None else None
        caller = draft.call.caller
        if owner is None or owner.kind not in PEOPLE:
            raise ApiError(400, "UserCredentialCreation", "Passwords belong to people: create it outside of a project")
        if owner.id != caller.account_id and caller.account_kind not in ADMIN_KINDS:
            raise forbidden("Only an administrator may give somebody else a password")
        if owner.kind == "superadmin" and not caller.above_admins:
            raise forbidden("Only a super administrator may make a login for this account")

    async def change_secret(self, call: Call, credential: Record, values: dict[str, Any]) -> Output:
        """Administrators may set a password without knowing the old one, except their own."""
        new = str(values.get("newSecret") or "")
        old = str(values.get("oldSecret") or "")
        if not new:
            raise invalid("MissingRequired", "newSecret", "The new password may not be empty")
        own = credential.account_id == call.caller.account_id
        if own or call.caller.account_kind not in ADMIN_KINDS:
            await self._require_old(call, credential, old)
        changes = self._store.changes()
        changes.update(credential, {"secretValue": await hash_password(new)})
        for session in await self._store.find_by("authToken", accountId=credential.account_id):
            if session.id != call.caller.credential_id or call.caller.auth_type != "TokenAuth":
                changes.delete(session)  # whoever logged in with the old password logs in again
        await self._store.commit(changes)
        return Output(type="changeSecretInput", values={"newSecret": None, "oldSecret": None})

    async def _require_old(self, call: Call, credential: Record, old: str) -> None:
        limiter, name = self._access.limiter, f"credential {credential.id}"
        if limiter.wait_seconds(name, call.client_ip) > 0:
            raise ApiError(429, None, "Too many wrong passwords; try again later")
        if not await password_matches(str(credential["secretValue"] or ""), old):
            limiter.failed(name, call.client_ip)
            raise ApiError(400, "InvalidOldPassword", "The old password is wrong")

    # Other kinds

    def _judge_registration_token(self, draft: Draft) -> None:
        if not draft.call.caller.modify_infra:
            raise forbidden("Cannot access registrationToken")
        if not draft.creating:
            draft.values.pop("secretValue", None)
            return
        draft.values["publicValue"] = new_public_value()
        draft.values["secretValue"] = seal(new_secret_value(), self._access.vault, kind="registrationToken")

    def _encrypt(self, draft: Draft) -> None:
        """Secrets that hosts need in the clear. A null in an update leaves what is stored."""
        secret = draft.values.pop("secretValue", None)
        if secret:
            draft.values["secretValue"] = seal(secret, self._access.vault, kind=draft.kind)

    # Showing

    async def compute(self, call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
        """No stored secret is ever shown; one that was just made is, and a balancer gets what it needs."""
        shown: dict[int, Mapping[str, Any]] = {}
        for record in records:
            secret = record["secretValue"]
            if isinstance(secret, Revealed):
                shown[record.id] = {"secretValue": str(secret)}
            elif record.kind == "registryCredential" and call.caller.role == "projectadmin" and secret:
                opened = unseal(record, self._access.vault)
                shown[record.id] = {"secretValue": opened}
            elif record.kind == "registrationToken":
                shown[record.id] = {"secretValue": None, "publicValue": None}
            else:
                shown[record.id] = {"secretValue": None}
        return shown

    async def certificate(self, call: Call, credential: Record) -> Response:
        """A client certificate in the name of the key, as a zip; its private key is made here and not kept."""
        name = str(credential["publicValue"])
        content = await run_in_threadpool(self._certificate_archive, name)
        label = _UNSAFE_IN_FILE_NAMES.sub("-", credential.name or f"certificate-1c{credential.id}").strip("-.")
        return Response(
            content,
            media_type="application/octet-stream",
            headers={
                "Content-Disposition": f'attachment; filename="{label or "certificate"}.zip"',
                "Cache-Control": "private, no-store",
            },
        )

    def _certificate_archive(self, common_name: str) -> bytes:
        key = new_rsa_key()
        files = {
            "cert.pem": self._access.host_keys.issue_certificate(key.public_key(), common_name),
            "key.pem": private_pem(key).decode(),
            "ca.pem": self._access.host_keys.ca_pem,
        }
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for file_name, text in files.items():
                archive.writestr(file_name, text)
        return content.getvalue()


def _require_length(name: str, value: str, shortest: int) -> None:
    if len(value) < shortest:
        raise invalid("MinLengthExceeded", name, f"{name} must have at least {shortest} characters")
    if len(value) > _LONGEST_KEY:
        raise invalid("MaxLengthExceeded", name, f"{name} must have at most {_LONGEST_KEY} characters")
    if ":" in value and name == "publicValue":
        raise invalid("InvalidCharacters", name, "publicValue may not contain ':'")


__all__ = ["Credentials", "Revealed", "install"]
