"""The pre-shared key of a network, with which its IPsec routers prove themselves to each other.

There is one key a network, made when a router first asks, kept encrypted, told only to the agent of a system container
that is labelled as an IPsec router of that very network. To exchange it without a break, the new key must be
known everywhere before anybody uses it, and the old one must be accepted until nobody does. What is valid follows from
the time of the exchange alone, so a server that is restarted in between misses nothing:

    at first     [old, new]   every router learns the new one
    then         [new, old]   routers use the new one and make their tunnels anew
    in the end   [new]

Source: the item ``psk`` of Rancher 1.6, whose routers get the bare key to use; ours ask for all (``keys=all``).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from drover.common.clock import now_ms
from drover.common.errors import DroverError
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.labels import is_true, labels_of
from drover.server.store import GuardFailed, Record

log = structlog.get_logger(__name__)

ITEM = "psk"
ROUTER_LABEL = "io.rancher.container.agent_service.ipsec"
FIELD = "presharedKey"
SPREAD_SECONDS = 60
"""How long a new key is only told, so that every router knows it when the first one uses it."""
OVERLAP_SECONDS = 300
"""How long the old key is accepted afterwards."""

_PURPOSE = "network pre-shared key"
_INSTANCE_URI = re.compile(r"/instanceId=(\d{1,18})\Z")
_LEFT = frozenset({"removing", "removed", "purging", "purged", "error", "erroring"})
_TRIES = 3


class ExchangeUnderWay(DroverError):
    """The key is being exchanged already."""


class StoredKeys(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the network's row holds: keys encrypted, the time in epoch milliseconds."""

    revision: int
    key: str
    former: str | None = None
    since: int = 0


@dataclass(frozen=True, slots=True)
class Validity:
    """Stored keys in the order of use, and the seconds until that changes."""

    keys: tuple[str, ...]
    refresh_seconds: int | None = None


def valid_keys(stored: StoredKeys, now: int) -> Validity:
    """Which keys are valid at a time, the one to use first."""
    if stored.former is None:
        return Validity((stored.key,))
    used = stored.since + SPREAD_SECONDS * 1000
    alone = used + OVERLAP_SECONDS * 1000
    if now < used:
        return Validity((stored.former, stored.key), _seconds(used - now))
    if now < alone:
        return Validity((stored.key, stored.former), _seconds(alone - now))
    return Validity((stored.key,))


class NetworkKeys:
    """The configuration item ``psk``, and the exchange of keys."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def content(self, agent: Record, query: Mapping[str, str]) -> bytes | None:
        """The keys for a router's agent; None for every other."""
        network = await self._network_of(agent)
        if network is None:
            return None
        valid = valid_keys(await self._keys_of(network), now_ms())
        keys = [self._context.vault.decrypt(key, purpose=_PURPOSE) for key in valid.keys]
        if query.get("keys") != "all":
            return keys[0].encode()
        return msgspec.json.encode({"keys": keys, "refresh_seconds": valid.refresh_seconds})

    async def applied(self, agent: Record, _version: str) -> bool:
        """Routers say that they have the key; nothing depends on it."""
        return await self._network_of(agent) is not None

    async def exchange(self, network: Record) -> Record:
        """Replace the network's key; routers change over within minutes. Raises ExchangeUnderWay."""
        stored = await self._keys_of(network)
        fresh = await self._context.store.get("network", network.id)
        assert fresh is not None
        left = valid_keys(stored, now_ms()).refresh_seconds
        if left is not None:
            raise ExchangeUnderWay(f"The network's key is being exchanged; try again in {left} seconds or more")
        replaced = StoredKeys(revision=stored.revision + 1, key=self._new_key(), former=stored.key, since=now_ms())
        try:
            result = await self._store(fresh, replaced)
        except GuardFailed as error:
            raise ExchangeUnderWay("Somebody else has just exchanged the network's key") from error
        log.info("network.key_exchanged", network_id=network.id, revision=replaced.revision)
        return result

    async def _keys_of(self, network: Record) -> StoredKeys:
        """The stored keys; made when there are none. Of several who make one at the same time one succeeds."""
        for _ in range(_TRIES):
            current = await self._context.store.get("network", network.id)
            stored = stored_keys(current) if current is not None else None
            if stored is not None:
                return stored
            assert current is not None, "networks are removed, never deleted, while routers ask for them"
            try:
                await self._store(current, StoredKeys(revision=1, key=self._new_key()))
            except GuardFailed:
                continue
        raise RuntimeError(f"the key of network {network.id} could not be stored")

    async def _store(self, network: Record, keys: StoredKeys) -> Record:
        store = self._context.store
        changes = store.changes()
        changes.guard(network, **{FIELD: network[FIELD]})
        planned = changes.update(network, {FIELD: msgspec.to_builtins(keys)})
        await store.commit(changes)
        return planned

    def _new_key(self) -> str:
        size = max(16, int(self._context.settings.get("ipsec.psk.byte.length")))
        return self._context.vault.encrypt(secrets.token_hex(size), purpose=_PURPOSE)

    async def _network_of(self, agent: Record) -> Record | None:
        """The network whose router this agent belongs to. A label alone is not enough: everybody can set one."""
        match = _INSTANCE_URI.search(str(agent["uri"] or ""))
        instance = await self._context.store.get("instance", int(match[1])) if match else None
        if (
            instance is None
            or instance["agentId"] != agent.id
            or instance["removed"] is not None
            or instance.state in _LEFT
            or not instance["system"]
            or not is_true(labels_of(instance.values).get(ROUTER_LABEL))
        ):
            return None
        holder = instance
        if instance["networkContainerId"] is not None:
            found = await self._context.store.get("instance", int(instance["networkContainerId"]))
            if found is None or found.account_id != instance.account_id:
                return None
            holder = found
        if holder["primaryNetworkId"] is None:
            return None
        network = await self._context.store.get("network", int(holder["primaryNetworkId"]))
        if network is None or network.account_id != instance.account_id or network.kind.startswith("docker"):
            return None
        return network


def stored_keys(network: Record) -> StoredKeys | None:
    """What the row of a network says about its keys."""
    value: Any = network[FIELD]
    return None if value is None else msgspec.convert(value, StoredKeys)


def _seconds(milliseconds: int) -> int:
    return -(-milliseconds // 1000)
