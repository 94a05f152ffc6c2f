"""Which network containers of an environment join when they name none.

A second network stack never takes over silently: the present default stays as long as it is usable. The network that
every environment begins with is a placeholder, and gives way to the first one that a driver provides.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import structlog

from drover.server.store import Record, Store, StoreError

log = structlog.get_logger(__name__)

_USABLE = frozenset({"activating", "active", "updating-active"})
_TRIES = 10


def choose_default(current: int | None, networks: Sequence[Record]) -> int | None:
    """The default among an environment's networks (in the order of their ids), as Rancher 1.6 chooses it."""
    usable = [each for each in networks if each.state in _USABLE and not _is_special(each.kind)]
    provided = [each for each in usable if each["networkDriverId"] is not None]
    candidates = provided or usable
    if any(each.id == current for each in candidates):
        return current
    active = [each.id for each in candidates if each.state == "active"]
    if active:
        return active[-1]
    return candidates[0].id if candidates else None


def _is_special(kind: str) -> bool:
    return kind.startswith("docker") or kind == "hostOnlyNetwork"


class DefaultNetworks:
    """Keeps ``defaultNetworkId`` of environments true."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def recompute(self, account_id: int) -> None:
        """To be called after a network of the environment has moved from one state to another."""
        async with self._locks[account_id]:
            for _ in range(_TRIES):
                if await self._settled(account_id):
                    return
        log.warning("networks.default_contended", account_id=account_id)

    async def _settled(self, account_id: int) -> bool:
        account = await self._store.get("account", account_id)
        if account is None:
            return True
        networks = await self._store.find_by("network", accountId=account_id, removed=None)
        current = account["defaultNetworkId"]
        chosen = choose_default(current, sorted(networks, key=lambda network: network.id))
        if chosen == current:
            return True
        changes = self._store.changes()
        changes.guard(account, defaultNetworkId=current)
        changes.update(account, {"defaultNetworkId": chosen})
        try:
            await self._store.commit(changes)
        except StoreError:
            return False  # another server chose meanwhile: look again
        log.info("networks.default", account_id=account_id, network_id=chosen)
        return True
