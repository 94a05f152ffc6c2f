"""Image registries and their credentials."""

from __future__ import annotations

import re

from drover.server.api.auth.access import AccessControl
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid
from drover.server.api.extensions import Extensions

_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?\Z|\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?\Z")


def install(extensions: Extensions, access: AccessControl) -> None:
    registries = Registries(access)
    extensions.rule("registry")(registries.judge)
    extensions.rule("registryCredential")(registries.judge_credential)


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
