"""Environments and their members. Nobody gives away more than he has, and an environment never loses its last owner."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from drover.common.clock import now_ms
from drover.server.api import writing
from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.directory import ADMIN_KINDS
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, forbidden, invalid, not_found
from drover.server.api.extensions import Extensions, Output
from drover.server.api.ids import parse_id, parse_row_id
from drover.server.api.scope import load_visible
from drover.server.orchestration.accounts import plan_removal
from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.project_templates import default_template
from drover.server.orchestration.seed import member_values
from drover.server.resources import Schema
from drover.server.store import Changes, Condition, Query, Record

Membership = tuple[str, str, str]  # external id type, external id, role

RANCHER_ID = "rancher_id"
ROLES = ("owner", "member", "restricted", "readonly")

_GONE = ("removed", "purging", "purged")
_DEFAULT_RANGE = (49153, 65535)


def install(extensions: Extensions, access: AccessControl) -> None:
    projects = Projects(access)
    extensions.lists("project")(projects.list_all)
    extensions.reads("project")(projects.read)
    extensions.creates("project")(projects.create)
    extensions.rule("project")(projects.judge)
    extensions.filters_actions("project")(projects.offered)
    extensions.action("setmembers", "project")(projects.set_members)
    extensions.link("projectmembers", "project")(projects.members)
    extensions.lists("projectMember")(projects.list_members)
    extensions.reads("projectMember")(projects.read_member)
    extensions.creates("projectMember")(projects.add_member)
    extensions.filters_actions("projectMember")(_no_actions)


def plan_project(
    context: Context, changes: Changes, values: Mapping[str, Any], members: Sequence[Membership]
) -> Record:
    """Plan an environment with its members, who may use it from the commit on."""
    row = {
        "orchestration": "cattle",
        "revision": 0,
        "version": "2",
        "servicesPortRange": _default_port_range(context),
        **{name: value for name, value in values.items() if value is not None},
        "kind": "project",
        "state": "requested",
        "created": now_ms(),
        "uuid": values.get("uuid") or str(uuid.uuid4()),
    }
    project = changes.insert("account", row)
    project = context.engine.schedule(changes, "account.create", project)
    for external_type, external_id, role in dict.fromkeys(members):
        changes.insert("projectMember", member_values(project.id, external_type, external_id, role))
    return project


def _default_port_range(context: Context) -> dict[str, int]:
    first, _, last = context.settings.get("environment.services.port.range").partition("-")
    if first.isdigit() and last.isdigit():
        return {"startPort": int(first), "endPort": int(last)}
    return {"startPort": _DEFAULT_RANGE[0], "endPort": _DEFAULT_RANGE[1]}


def owns(call: Call, project_id: int) -> bool:
    """Whether the caller may change this environment and its members."""
    caller = call.caller
    if caller.account_kind in ADMIN_KINDS and (caller.all_accounts or caller.project_id == project_id):
        return True
    return caller.projects.get(project_id) == "owner"


def require_owner(call: Call, project_id: int) -> None:
    if not owns(call, project_id):
        raise forbidden("You must be a project owner to change an environment or its members; ask one of its owners")


class Projects:
    """The types ``project`` and ``projectMember``."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access
        self._context = access.context
        self._store = access.context.store

    # Reading

    async def list_all(self, call: Call, schema: Schema) -> Sequence[Record]:
        conditions = [Condition("kind", "eq", "project"), Condition("state", "notin", _GONE)]
        if not call.show_removed:
            conditions.append(Condition("removed", "null"))
        caller = call.caller
        everything = caller.list_all_accounts and (call.flag("all") or caller.account_kind in ("service", "superadmin"))
        if not everything:
            conditions.append(Condition("id", "in", sorted(_own_projects(call))))
        for name in ("id", "uuid"):
            if name in call.query:
                wanted = [parse_row_id(text) or -1 for text in call.query[name]] if name == "id" else call.query[name]
                conditions.append(Condition(name, "in", list(wanted)))
        found = await self._store.find(Query("account", tuple(conditions)))
        names = {name.casefold() for name in call.query.get("name", ())}
        return [
            record
            for record in found
            if (not names or (record.name or "").casefold() in names) and self._shown(call, record)
        ]

    def _shown(self, call: Call, project: Record) -> bool:
        """An environment that is switched off is there for its owners only."""
        return project.state != "inactive" or owns(call, project.id)

    async def read(self, call: Call, schema: Schema, text: str) -> Record | None:
        project_id = parse_id(text, plain=call.plain_ids)
        if not isinstance(project_id, int):
            return None
        if project_id not in _own_projects(call) and not call.caller.list_all_accounts:
            return None
        project = await self._store.get("account", project_id)
        return project if project is not None and project.kind == "project" else None

    def offered(self, call: Call, project: Record, names: list[str]) -> list[str]:
        return names if owns(call, project.id) else [name for name in names if name == "defaultNetworkId"]

    # Writing

    async def create(self, call: Call, schema: Schema, values: dict[str, Any]) -> Record:
        if call.caller.project_id is not None:
            raise forbidden("An environment cannot be created from inside another one; use your own account")
        given = values.pop("members", None)
        members = await self._checked(given) if given else [(RANCHER_ID, str(call.caller.account_id), "owner")]
        _require_an_owner(members)
        values["projectTemplateId"] = await self._template(call, values.get("projectTemplateId"))
        changes = self._store.changes()
        project = plan_project(self._context, changes, values, members)
        committed = await writing.commit(call, changes)
        return committed.record(project)

    async def _template(self, call: Call, given: int | None) -> int | None:
        """The template that the caller names, which he must be able to see, else the one that the settings name."""
        if given is None:
            default = await default_template(self._context)
            return None if default is None else default.id
        if given not in await load_visible(call, "projectTemplate", [int(given)]):
            raise invalid("InvalidReference", "projectTemplateId", "There is no such template; see /projecttemplates")
        return int(given)

    async def judge(self, draft: Draft) -> None:
        if draft.record is not None:
            require_owner(draft.call, draft.record.id)

    async def set_members(self, call: Call, project: Record, values: dict[str, Any]) -> Output:
        require_owner(call, project.id)
        wanted = dict.fromkeys(await self._checked(values.get("members") or []))
        _require_an_owner(list(wanted))
        changes = self._store.changes()
        kept: set[Membership] = set()
        for row in await self._store.find_by("projectMember", projectId=project.id, removed=None):
            membership = _membership(row)
            if membership in wanted and membership not in kept:
                kept.add(membership)
            else:
                plan_removal(changes, row)
        for external_type, external_id, role in wanted:
            if (external_type, external_id, role) not in kept:
                changes.insert("projectMember", member_values(project.id, external_type, external_id, role))
        await writing.commit(call, changes)
        return Output(type="setProjectMembersInput", values={"members": [_shown_member(each) for each in wanted]})

    async def _checked(self, given: Sequence[Mapping[str, Any]]) -> list[Membership]:
        """Members as a client names them; each must exist."""
        members: list[Membership] = []
        for each in given:
            external_id = str(each.get("externalId") or "").strip()
            external_type = str(each.get("externalIdType") or "")
            role = str(each.get("role") or "")
            if not external_id or not external_type or role not in ROLES:
                raise _bad_member(
                    "Each member needs externalId, externalIdType and one of the roles " + ", ".join(ROLES)
                )
            if external_type == RANCHER_ID:
                external_id = str(await self._local_person(external_id))
            members.append((external_type, external_id, role))
        return members

    async def _local_person(self, external_id: str) -> int:
        number = parse_row_id(external_id, plain=True)
        account = await self._store.get("account", number) if number is not None else None
        if account is None or account["removed"] is not None or account.kind == "project":
            raise ApiError(404, "identityNotFound", f"There is no account {external_id!r}; look it up in /identities")
        return account.id

    # Members

    async def members(self, call: Call, project: Record) -> Sequence[Record]:
        return await self._members_of(call, [project.id])

    async def list_members(self, call: Call, schema: Schema) -> Sequence[Record]:
        if call.caller.list_all_accounts:
            return await self._store.find_by("projectMember", removed=None)
        return await self._members_of(call, sorted(_own_projects(call)))

    async def read_member(self, call: Call, schema: Schema, text: str) -> Record | None:
        row_id = parse_id(text, plain=call.plain_ids)
        row = await self._store.get("projectMember", row_id) if isinstance(row_id, int) else None
        if row is None or not (call.caller.list_all_accounts or int(row["projectId"]) in _own_projects(call)):
            return None
        return row

    async def _members_of(self, call: Call, projects: Sequence[int]) -> Sequence[Record]:
        return await self._store.find_by("projectMember", projectId=list(projects), removed=None)

    async def add_member(self, call: Call, schema: Schema, values: dict[str, Any]) -> Record:
        """Rancher 1.6 lists the operation but has no use for it: members are set as a whole."""
        raise ApiError(405, None, "Use the project's action setmembers with the complete list of members")


def _own_projects(call: Call) -> set[int]:
    caller = call.caller
    own = set(caller.projects)
    if caller.project_id is not None:
        own = {caller.project_id} if not own else own | {caller.project_id}
    return own


def _no_actions(call: Call, member: Record, names: list[str]) -> list[str]:
    """Memberships change through the project alone, where an owner is required and the last one stays."""
    return []


def _membership(row: Record) -> Membership:
    return str(row["externalIdType"]), str(row["externalId"]), str(row["role"])


def _shown_member(membership: Membership) -> dict[str, Any]:
    external_type, external_id, role = membership
    return {"type": "projectMember", "externalId": external_id, "externalIdType": external_type, "role": role}


def _require_an_owner(members: Sequence[Membership]) -> None:
    if not any(role == "owner" for _, _, role in members):
        raise _bad_member("Members list does not have an owner; add one with role owner")


def _bad_member(message: str) -> ApiError:
    return ApiError(400, "InvalidFormat", message, field_name="members")


async def remove_project(call: Call, project: Record) -> Record:
    require_owner(call, project.id)
    if project["removed"] is not None:
        raise not_found()
    return await writing.remove(call, project)
