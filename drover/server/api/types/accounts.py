"""Accounts of people and programs, their identities, and the switch for access control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.server.api import writing
from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.directory import ADMIN_KINDS, usable
from drover.server.api.call import Call
from drover.server.api.caller import Identity
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, forbidden, invalid, not_found
from drover.server.api.extensions import Extensions, Output, Prepared
from drover.server.api.ids import parse_id, parse_row_id
from drover.server.api.scope import load_visible
from drover.server.api.types.projects import RANCHER_ID, owns, remove_project, require_owner
from drover.server.api.types.tokens import PEOPLE, identity_values
from drover.server.orchestration.accounts import plan_removal
from drover.server.orchestration.credentials import hash_password, key_values, login_claim, password_matches
from drover.server.orchestration.seed import LOCAL_PROVIDER
from drover.server.resources import Schema
from drover.server.store import Changes, Condition, Query, Record
from drover.server.store.query import Operator

# What an administrator may make: never one of the server's own accounts.
CREATABLE_KINDS = ("user", "admin", "readAdmin", "service", "agent", "project")

_SEARCH_LIMIT = 50
_ACTIVE_STATES = ("active", "updating-active")


def install(extensions: Extensions, access: AccessControl) -> None:
    accounts = Accounts(access)
    extensions.rule("account")(accounts.judge)
    extensions.removes("account")(accounts.remove)
    extensions.prepares("deactivate", "account")(accounts.before_deactivation)
    extensions.prepares("remove", "account")(accounts.before_removal)
    extensions.computes("account")(accounts.compute)
    extensions.lists("identity")(accounts.identities)
    extensions.reads("identity")(accounts.identity)
    extensions.creates("localAuthConfig")(accounts.configure)
    extensions.lists("localAuthConfig")(accounts.configuration)
    extensions.rule("userPreference")(_unique_preference)
    extensions.lists("userPreference")(_list_preferences)


class Accounts:
    """The types ``account``, ``identity`` and ``localAuthConfig``."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access
        self._store = access.context.store
        self._settings = access.context.settings

    async def judge(self, draft: Draft) -> None:
        caller = draft.call.caller
        chosen = draft.creating or draft.changes("kind")
        if chosen and draft.kind not in CREATABLE_KINDS and not caller.above_admins:
            raise invalid("InvalidOption", "kind", f"kind must be one of: {', '.join(CREATABLE_KINDS)}")
        if draft.record is not None and draft.record.kind == "admin" and draft.changes("kind"):
            await self._require_other_admin(draft.record)

    async def _require_other_admin(self, account: Record) -> None:
        admins = await self._store.find_by("account", kind="admin", removed=None, state=_ACTIVE_STATES)
        if not any(each.id != account.id for each in admins):
            raise ApiError(405, "LastAdminAccount", "This is the last active administrator; make another one first")

    async def remove(self, call: Call, schema: Schema, text: str) -> Record:
        row_id = parse_id(text, plain=call.plain_ids)
        found = await load_visible(call, "account", [row_id]) if isinstance(row_id, int) else {}
        account = next(iter(found.values()), None)
        if account is None or (schema.id == "project") != (account.kind == "project"):
            raise not_found(f"There is no {schema.id} {text!r}, or you may not see it")
        return await self._remove(call, account)

    async def _remove(self, call: Call, account: Record) -> Record:
        if account.kind == "project":
            return await remove_project(call, account)
        await self._require_removable(account)
        return await writing.remove(call, account)

    async def _require_removable(self, account: Record) -> None:
        if account.kind in ("system", "token", "register"):
            raise ApiError(405, None, "The server needs this account itself")
        if account.kind == "admin":
            await self._require_other_admin(account)

    async def before_deactivation(self, call: Call, account: Record, values: Mapping[str, Any]) -> Prepared:
        if account.kind != "project":
            await self._require_removable(account)
        return Prepared()

    async def before_removal(self, call: Call, account: Record, values: Mapping[str, Any]) -> Prepared:
        if account.kind == "project":
            require_owner(call, account.id)
        else:
            await self._require_removable(account)
        return Prepared()

    async def compute(self, call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
        return {
            record.id: {
                "callerIsOwner": owns(call, record.id),
                "identity": "{0.external_id_type}:{0.external_id}".format(
                    self._access.directory.identities(record)[-1]
                ),
            }
            for record in records
        }

    # Identities

    async def identities(self, call: Call, schema: Schema) -> Sequence[Output]:
        for name, contains in (("name", False), ("all", True)):
            text = call.query.get(name, ("",))[0].strip()
            if text:
                return await self._search(text, contains=contains)
        return [_identity_output(each) for each in call.caller.identities]

    async def _search(self, text: str, *, contains: bool) -> Sequence[Output]:
        """Local people by name or login. Members are found this way, so everybody who is logged in may look."""
        match: tuple[Operator, str] = ("like", f"%{text}%") if contains else ("eq", text)
        people = Condition("kind", "in", list(PEOPLE))
        living = Condition("removed", "null")
        name = Condition("name", match[0], match[1])
        found = {
            each.id: each
            for each in await self._store.find(Query("account", (people, living, name), limit=_SEARCH_LIMIT))
        }
        login = Condition("publicValue", match[0], match[1])
        passwords = await self._store.find(
            Query("credential", (Condition("kind", "eq", "password"), living, login), limit=_SEARCH_LIMIT)
        )
        owners = [int(each["accountId"]) for each in passwords if each["accountId"] and each["accountId"] not in found]
        found.update(await self._store.get_many("account", owners))
        return [
            _identity_output(self._access.directory.identities(each)[-1])
            for each in sorted(found.values(), key=lambda record: record.id)
            if usable(each) and each.kind in PEOPLE
        ]

    async def identity(self, call: Call, schema: Schema, text: str) -> Output | None:
        raw = text.removeprefix("1i!")
        external_type, colon, external_id = raw.partition(":")
        if not colon:
            return None
        if external_type == RANCHER_ID:
            number = parse_row_id(external_id, plain=True)
            account = await self._access.directory.account(number) if number is not None else None
            if account is None or account["removed"] is not None:
                return None
            return _identity_output(self._access.directory.identities(account)[0])
        account = await self._store.first("account", externalId=external_id, externalIdType=external_type, removed=None)
        return None if account is None else _identity_output(self._access.directory.identities(account)[-1])

    # Local authentication

    async def configuration(self, call: Call, schema: Schema) -> Sequence[Output]:
        return [self._configuration(None)]

    def _configuration(self, username: str | None) -> Output:
        return Output(
            type="localAuthConfig",
            values={
                "accessMode": self._settings.get("api.auth.local.access.mode") or "unrestricted",
                "enabled": self._settings.bool("api.security.enabled"),
                "name": "admin",
                "password": None,
                "username": username,
            },
        )

    async def configure(self, call: Call, schema: Schema, values: Mapping[str, Any]) -> Output:
        """Switch access control on or off. Only an administrator may, and the check is here, not in the URL."""
        if call.caller.account_kind not in ADMIN_KINDS or call.caller.project_id is not None:
            raise forbidden("Only an administrator may change how people log in")
        username = str(values["username"]).strip()
        changes = self._store.changes()
        if values.get("enabled"):
            await self._plan_login(changes, username, str(values["password"]), str(values.get("name") or username))
            await self._plan_setting(changes, "api.auth.provider.configured", LOCAL_PROVIDER)
            await self._plan_setting(
                changes, "api.auth.local.access.mode", str(values.get("accessMode") or "unrestricted")
            )
        await self._plan_setting(changes, "api.security.enabled", "true" if values.get("enabled") else "false")
        await writing.commit(call, changes)
        return self._configuration(username)

    async def _plan_login(self, changes: Changes, username: str, password: str, name: str) -> None:
        """The administrator who logs in from now on. A known name must bring its password."""
        if not username or not password or ":" in username:
            raise invalid(
                "InvalidFormat", "username", "username and password may not be empty, nor the name contain ':'"
            )
        known = await self._store.first("credential", kind="password", publicValue=username, removed=None)
        if known is not None:
            if not await password_matches(str(known["secretValue"]), password):
                raise ApiError(401, "IncorrectPassword", "Username or Password incorrect")
            return
        admin = await self._access.directory.first_admin()
        if admin is None:
            raise ApiError(503, "LocalAuthConfig", "There is no active administrator to give this login to")
        for old in await self._store.find_by("credential", kind="password", accountId=admin.id, removed=None):
            plan_removal(changes, old)
        stored = await hash_password(password)
        credential = changes.insert(
            "credential",
            key_values(kind="password", account_id=admin.id, public_value=username, stored_secret=stored),
        )
        changes.claim(login_claim(username), credential)
        changes.update(admin, {"name": name})

    async def _plan_setting(self, changes: Changes, name: str, value: str) -> None:
        row = await self._store.first("setting", name=name)
        if row is None:
            changes.insert("setting", {"name": name, "value": value})
        else:
            changes.update(row, {"value": value})


def _identity_output(identity: Identity) -> Output:
    return Output(type="identity", id=identity.id, values=identity_values(identity))


async def _list_preferences(call: Call, schema: Schema) -> Sequence[Record]:
    """One's own; administrators may ask for everybody's."""
    conditions = [Condition("removed", "null")]
    if not (call.flag("all") and call.caller.list_all_accounts):
        conditions.append(Condition("accountId", "eq", call.caller.policy_account_id))
    if "name" in call.query:
        conditions.append(Condition("name", "in", list(call.query["name"])))
    return await call.store.find(Query("userPreference", tuple(conditions)))


async def _unique_preference(draft: Draft) -> None:
    name = draft.get("name")
    if not draft.changes("name") or name is None:
        return
    same = await draft.call.store.first("userPreference", accountId=draft.get("accountId"), name=name, removed=None)
    if same is not None and (draft.record is None or same.id != draft.record.id):
        raise invalid("NotUnique", "name", f"There is already a preference {name!r}; update it instead")
