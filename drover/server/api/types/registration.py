"""Adding hosts: registration tokens with their command, and the ``register`` objects that machines post."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from drover.common.clock import now_ms
from drover.server.api import writing
from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.directory import usable
from drover.server.api.auth.scripts import agent_image, registration_command, script_base
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import forbidden, invalid, not_found
from drover.server.api.extensions import Extensions
from drover.server.api.ids import parse_id
from drover.server.orchestration.credentials import unseal
from drover.server.orchestration.registration import (
    DEFAULT_URI_FORMAT,
    REGISTER,
    hashed_host_token,
    is_uri_format,
)
from drover.server.orchestration.registration_token import make_token
from drover.server.orchestration.vault import VaultError
from drover.server.resources import Schema
from drover.server.store import Record

_SHORTEST_KEY, _LONGEST_KEY = 8, 512
_WORKING_KINDS = frozenset({REGISTER, "pullTask"})
_GONE = frozenset({"removing", "removed", "purging", "purged"})


def install(extensions: Extensions, access: AccessControl) -> None:
    registration = Registration(access)
    extensions.computes("credential")(registration.compute_token)
    extensions.names_links("registrationToken")(lambda call, record: ["registrationUrl"])
    extensions.lists(REGISTER)(registration.list_all)
    extensions.reads(REGISTER)(registration.read)
    extensions.creates(REGISTER)(registration.create)
    extensions.computes("genericObject")(_blank_register)
    extensions.rule("genericObject")(_refuse_working_kinds)


class Registration:
    """The types ``registrationToken`` (computed fields) and ``register``."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access
        self._store = access.context.store
        self._settings = access.context.settings

    async def compute_token(self, call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
        shown: dict[int, Mapping[str, Any]] = {}
        for record in records:
            if record.kind != "registrationToken" or not usable(record) or not call.caller.modify_infra:
                continue
            text = self._token_text(record)
            if text is None:
                continue
            url = f"{script_base(self._settings, call.urls.base, call.urls.version)}/scripts/{text}"
            image = agent_image(self._settings)
            shown[record.id] = {
                "token": text,
                "registrationUrl": url,
                "image": image,
                "command": registration_command(image, url),
            }
        return shown

    def _token_text(self, record: Record) -> str | None:
        try:
            secret = unseal(record, self._access.vault)
        except VaultError:
            return None
        return make_token(str(record["publicValue"]), secret, now_ms())

    # register

    async def create(self, call: Call, schema: Schema, values: dict[str, Any]) -> Record:
        key = str(values.get("key") or "")
        if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
            raise invalid("MissingRequired", "key", "key must be the host's own random token (128 hex digits)")
        uri_format = str(values.get("agentUriFormat") or self._asked_format(call) or DEFAULT_URI_FORMAT)
        if not is_uri_format(uri_format):
            raise invalid("InvalidFormat", "agentUriFormat", "agentUriFormat must be event://%s or sim://%s")
        if call.caller.project_id is None:
            raise forbidden("Hosts register in an environment: use a registration token or a project URL")
        changes = self._store.changes()
        row = {
            "kind": REGISTER,
            "uuid": str(uuid.uuid4()),
            "state": "requested",
            "created": now_ms(),
            "name": values.get("name"),
            "accountId": call.caller.policy_account_id,
            "key": hashed_host_token(self._access.vault, key),
            "agentUriFormat": uri_format,
        }
        record = changes.insert("genericObject", row)
        record = self._access.context.engine.schedule(changes, "genericobject.create", record)
        committed = await writing.commit(call, changes)
        return (await self._shown([committed.record(record)], key))[0]

    @staticmethod
    def _asked_format(call: Call) -> str:
        """No schema lets a registering host set the field; tools that simulate hosts send it all the same."""
        return str(call.body.get("agentUriFormat") or call.query.get("agentUriFormat", ("",))[0])

    async def list_all(self, call: Call, schema: Schema) -> Sequence[Record]:
        key = call.query.get("key", ("",))[0]
        same = {"key": hashed_host_token(self._access.vault, key)} if key else {}
        found = await self._store.find_by(
            "genericObject", kind=REGISTER, accountId=call.caller.policy_account_id, removed=None, **same
        )
        return await self._shown(found, key)

    async def read(self, call: Call, schema: Schema, text: str) -> Record | None:
        row_id = parse_id(text, plain=call.plain_ids)
        record = await self._store.get("genericObject", row_id) if isinstance(row_id, int) else None
        if record is None or record.kind != REGISTER or record.account_id != call.caller.policy_account_id:
            raise not_found(f"There is no register {text!r}, or you may not see it")
        return (await self._shown([record], call.query.get("key", ("",))[0]))[0]

    async def _shown(self, records: Sequence[Record], key: str) -> list[Record]:
        """The agent's key goes to whoever knows the host's token; registrations whose agent is gone are over."""
        hashed = hashed_host_token(self._access.vault, key) if key else None
        agents = await self._store.get_many("agent", [int(r["agentId"]) for r in records if r["agentId"] is not None])
        keys = await self._store.get_many(
            "credential", [int(r["credentialId"]) for r in records if r["credentialId"] is not None]
        )
        shown: list[Record] = []
        for record in records:
            agent = agents.get(int(record["agentId"])) if record["agentId"] is not None else None
            if record["agentId"] is not None and (agent is None or agent["removed"] or agent.state in _GONE):
                continue
            secrets: dict[str, Any] = {"shownKey": None, "accessKey": None, "secretKey": None}
            if hashed is not None and record["key"] == hashed and record.state == "active":
                credential = keys.get(int(record["credentialId"] or 0))
                if credential is not None and usable(credential):
                    secrets = {
                        "shownKey": key,
                        "accessKey": credential["publicValue"],
                        "secretKey": unseal(credential, self._access.vault),
                    }
            shown.append(record.merged(secrets))
        return shown


async def _refuse_working_kinds(draft: Draft) -> None:
    """A generic object may be of any kind but those that start work: these have types, and rules, of their own."""
    if draft.creating and draft.schema.id == "genericObject" and draft.kind in _WORKING_KINDS:
        raise invalid("InvalidOption", "kind", f"Create a {draft.kind} through its own type")


async def _blank_register(call: Call, records: Sequence[Record]) -> Mapping[int, Mapping[str, Any]]:
    """Whatever list a registration appears in: without the host's token there is nothing secret to see."""
    return {
        record.id: {
            "key": record["shownKey"],
            "accessKey": record["accessKey"] if record["shownKey"] else None,
            "secretKey": record["secretKey"] if record["shownKey"] else None,
        }
        for record in records
        if record.kind == REGISTER
    }
