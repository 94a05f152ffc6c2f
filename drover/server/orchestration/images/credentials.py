"""Which account logs in to the registry of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drover.server.orchestration.credentials import unseal
from drover.server.orchestration.images.reference import split_image
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.vault import Vault
from drover.server.store import Record, Store

_OFFICIAL = frozenset({"index.docker.io", "docker.io", "registry-1.docker.io"})
_USABLE = frozenset({"active", "activating", "updating-active"})


class RegistryCredentials:
    """The registries of all environments and the accounts in them, held in memory."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._vault = vault
        self._registries = Mirror(store, "storagePool", lambda row: row.kind == "registry")
        self._credentials = Mirror(store, "credential", lambda row: row.kind == "registryCredential")

    async def choose(self, environment_id: int, image_uuid: str) -> int | None:
        """The credential for an image: of the environment's active registry for that server, the oldest one."""
        await self._registries.ready()
        await self._credentials.ready()
        server, _ = split_image(image_uuid.removeprefix("docker:"))
        registries = {
            registry.id
            for registry in self._registries.where(accountId=environment_id)
            if registry.state in _USABLE and _same_server(str(registry["serverAddress"] or ""), server)
        }
        found = (row.id for row in self._credentials if row["registryId"] in registries and row.state in _USABLE)
        return min(found, default=None)

    async def payload(self, credential_id: int | None) -> Mapping[str, Any] | None:
        """The credential as agents get it: with its secret, so never to be logged."""
        await self._registries.ready()
        await self._credentials.ready()
        credential = self._credentials.get(credential_id)
        if credential is None:
            return None
        return _payload(credential, unseal(credential, self._vault), self._registries.get(credential["registryId"]))


def _payload(credential: Record, secret: str, registry: Record | None) -> dict[str, Any]:
    fields = {
        "serverAddress": None if registry is None else registry["serverAddress"],
        "email": credential["email"],
    }
    return {
        "type": "credential",
        "publicValue": credential["publicValue"],
        "secretValue": secret,
        "data": {"fields": fields},
        "registry": {"data": {"fields": {"serverAddress": fields["serverAddress"]}}},
    }


def _same_server(address: str, server: str) -> bool:
    host = address.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return host == server or (host in _OFFICIAL and server in _OFFICIAL)
