"""What a fresh server contains: the accounts that tools know by their ids, one environment, and the first log-in.

Everything is planned as one commit and only when it is missing, so a start may be interrupted and repeated. The
password of the administrator is made once, returned once to be printed, and never made again: not when it was
forgotten, and not when the account was renamed (a known or recurring first password has broken systems like this).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.credentials import hash_password, key_values, login_claim, new_secret_value
from drover.server.store import Changes, ClaimTaken, Record

log = structlog.get_logger(__name__)

ADMIN_LOGIN = "admin"
DEFAULT_PROJECT_UUID = "adminProject"
LOCAL_PROVIDER = "localAuthConfig"

Auth = Literal["local", "none"]
ProjectSeed = Callable[[Changes, Record], object]

_PASSWORD_LENGTH = 20
_CLAIM = "seeds"

# In the order of their ids, 1a1 to 1a7: scripts rely on the first and the fifth (Rancher 1.6).
_ACCOUNTS: tuple[tuple[str, str, str, str], ...] = (  # uuid, kind, name, state
    ("admin", "admin", "admin", "active"),
    ("system", "system", "System", "active"),
    ("superadmin", "superadmin", "Super Admin", "inactive"),
    ("token", "token", "token", "active"),
    (DEFAULT_PROJECT_UUID, "project", "Default", "active"),
    ("service", "service", "Service", "active"),
    ("register", "register", "Register", "active"),
)


@dataclass(frozen=True, slots=True)
class Seeded:
    """``admin_password`` is set at the one start that made it: print it, and forget it."""

    admin_password: str | None = field(default=None, repr=False)
    first_start: bool = False


async def seed(context: Context, *, auth: Auth, project_seeds: Sequence[ProjectSeed] = ()) -> Seeded:
    """Bring a database to where the server can work with it.

    ``project_seeds`` plan what every environment has from its first day, for the default one. ``auth`` is the mode
    that this start asks for: ``local`` switches access control on, ``none`` switches it off and says so in the log.
    """
    try:
        return await _seed(context, auth, project_seeds)
    except ClaimTaken:
        log.info("seed.done_elsewhere")  # another server of a shared database started in the same moment
        return await _seed(context, auth, project_seeds)


async def _seed(context: Context, auth: Auth, project_seeds: Sequence[ProjectSeed]) -> Seeded:
    store = context.store
    changes = store.changes()
    known = {record.uuid: record for record in await store.find_by("account", uuid=[each[0] for each in _ACCOUNTS])}
    first_start = not known
    for account_uuid, kind, name, state in _ACCOUNTS:
        if account_uuid not in known:
            known[account_uuid] = changes.insert("account", _account(account_uuid, kind, name, state))
    admin = known["admin"]
    if first_start:
        changes.claim(_CLAIM, admin)
        _plan_environment(changes, known[DEFAULT_PROJECT_UUID], admin, project_seeds)
        _plan_fixtures(changes)
    password = await _plan_access(context, changes, admin, auth)
    await store.commit(changes)
    if auth == "none":
        log.warning("auth.off", meaning="everybody who reaches this server is its administrator", fix="--auth local")
    return Seeded(password, first_start)


def _plan_environment(changes: Changes, project: Record, admin: Record, project_seeds: Sequence[ProjectSeed]) -> None:
    changes.insert("projectMember", member_values(project.id, "rancher_id", str(admin.id), "owner"))
    for plan in project_seeds:
        plan(changes, project)


def _plan_fixtures(changes: Changes) -> None:
    changes.insert("zone", {"name": "zone1", "kind": "zone", **_row("zone1")})
    changes.insert("task", {"name": "agent.ping"})


async def _plan_access(context: Context, changes: Changes, admin: Record, auth: Auth) -> str | None:
    """Access control as this start asks for it; the password, when there was never one before."""
    await _plan_setting(context, changes, "api.security.enabled", "true" if auth == "local" else "false")
    if auth == "none":
        return None
    if context.settings.get("api.auth.provider.configured") in ("", "none"):
        await _plan_setting(context, changes, "api.auth.provider.configured", LOCAL_PROVIDER)
    if await context.store.first("credential", kind="password", accountId=admin.id) is not None:
        return None
    password = new_secret_value()[:_PASSWORD_LENGTH]
    stored = await hash_password(password)
    credential = changes.insert(
        "credential",
        key_values(kind="password", account_id=admin.id, public_value=ADMIN_LOGIN, stored_secret=stored),
    )
    changes.claim(login_claim(ADMIN_LOGIN), credential)
    return password


async def _plan_setting(context: Context, changes: Changes, name: str, value: str) -> None:
    if context.settings.stored(name) == value:
        return
    row = await context.store.first("setting", name=name)
    if row is None:
        changes.insert("setting", {"name": name, "value": value})
    else:
        changes.update(row, {"value": value})


def member_values(project_id: int, external_id_type: str, external_id: str, role: str) -> dict[str, Any]:
    """A membership that counts at once."""
    return {
        "kind": "projectMember",
        "accountId": project_id,
        "projectId": project_id,
        "externalId": external_id,
        "externalIdType": external_id_type,
        "role": role,
        **_row(str(uuid.uuid4())),
    }


def _account(account_uuid: str, kind: str, name: str, state: str) -> dict[str, Any]:
    values = {"kind": kind, "name": name, "revision": 0, "version": "2", **_row(account_uuid), "state": state}
    if kind == "project":
        values["orchestration"] = "cattle"
    return values


def _row(row_uuid: str) -> dict[str, Any]:
    return {"uuid": row_uuid, "state": "active", "created": now_ms()}
