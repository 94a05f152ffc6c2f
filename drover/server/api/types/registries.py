"""Image registries and their credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from drover.server.api import writing
from drover.server.api.auth.access import AccessControl
from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid, not_found
from drover.server.api.extensions import Extensions, Prepared
from drover.server.api.ids import parse_id
from drover.server.api.scope import load_visible
from drover.server.orchestration.accounts import plan_removal
from drover.server.resources import Schema
from drover.server.store import Record

_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?\Z|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?\Z")


def install(extensions: Extensions, access: AccessControl) -> None:
    registries = Registries(access)
    extensions.rule("registry")(registries.judge)
    extensions.rule("registryCredential")(registries.judge_credential)
    extensions.removes("registry")(registries.remove)
    extensions.prepares("remove", "registry")(registries.before_removal)


class Registries:
    """The type ``registry``: one server address, once in an environment."""

    def __init__(self, access: AccessControl) -> None:
        self._store = access.context.store
        self._settings = access.context.settings

    async def judge(self, draft: Draft) -> None:
        if not draft.creating:
            return
        address = str(draft.values.get("serverAddress") or "").strip()
        if not address:
            raise invalid("MissingRequired", "serverAddress", "A registry needs a serverAddress such as quay.io")
        if not _ADDRESS.match(address):
            raise invalid(
                "InvalidFormat", "serverAddress", "serverAddress is host or host:port, without https:// and path"
            )
        self._require_allowed(address)
        for each in await self._store.find_by(
            "storagePool", kind="registry", accountId=draft.get("accountId"), removed=None
        ):
            if str(each["serverAddress"] or "").casefold() == address.casefold():
                raise _used(address)
        draft.values["serverAddress"] = address

    def _require_allowed(self, address: str) -> None:
        allowed = [
            each.strip().casefold() for each in self._settings.get("registry.whitelist").split(",") if each.strip()
        ]
        if allowed and address.casefold() not in allowed:
            raise invalid("InvalidOption", "serverAddress", "The provided registry is not whitelisted", detail=address)

    async def remove(self, call: Call, schema: Schema, text: str) -> Record:
        row_id = parse_id(text, plain=call.plain_ids)
        found = await load_visible(call, "storagePool", [row_id]) if isinstance(row_id, int) else {}
        registry = next((each for each in found.values() if each.kind == "registry"), None)
        if registry is None:
            raise not_found(f"There is no registry {text!r}, or you may not see it")
        removed = await writing.remove(call, registry)
        await self.before_removal(call, registry, {})
        return removed

    async def before_removal(self, call: Call, registry: Record, values: Mapping[str, Any]) -> Prepared:
        """Its credentials go with a registry: nothing that logs in somewhere may be left over."""
        changes = self._store.changes()
        for credential in await self._store.find_by("credential", registryId=registry.id, removed=None):
            plan_removal(changes, credential)
        await self._store.commit(changes)
        return Prepared()

    async def judge_credential(self, draft: Draft) -> None:
        if not draft.creating:
            return
        registry_id = draft.get("registryId")
        registry = await self._store.get("storagePool", int(registry_id)) if registry_id is not None else None
        if registry is None or registry.kind != "registry" or registry["removed"] is not None:
            raise invalid(
                "InvalidReference", "registryId", "registryId must be the id of a registry of the environment"
            )
        if registry.account_id != draft.get("accountId"):
            raise invalid(
                "InvalidReference", "registryId", "registryId must be the id of a registry of the environment"
            )


def _used(address: str) -> ApiError:
    return ApiError(400, "ServerAddressUsed", f"There is already a registry {address}; add a credential to it instead")
