"""Which network a container joins, decided twice: by name when it is created, in fact when its host is known.

By name (precedence of Rancher 1.6): the label ``io.rancher.cni.network``; else ``managed`` when the label
``io.rancher.container.network`` asks for it; else ``networkMode``; else ``managed``.

In fact: an environment's managed network needs a network stack on the hosts. As long as there is none (the network
has no ``networkDriverId``), a container on a real Docker host gets Docker's default bridge and keeps the address that
Docker gives it; on a simulated host, where nothing has to carry traffic, it gets an address of the managed subnet
from the server. This is the only place that knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.networks.defaults import MANAGED, plan_default_networks
from drover.server.store import ClaimTaken, Record, Store

CNI_LABEL = "io.rancher.cni.network"
NETWORK_LABEL = "io.rancher.container.network"
_MODES = {"host": "dockerHost", "none": "dockerNone", "bridge": "dockerBridge", "default": "dockerBridge"}
_OVERRIDABLE = frozenset({"", "none", "default", "bridge"})
_SIMULATED = "sim"


class NoSuchNetwork(Exception):
    """The environment has no network of that name; the text is for the user."""


class NetworkPending(Exception):
    """The environment is about to get the network that the container will join."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """How a container is connected on its host. ``kind`` is what the agent is told; ``assigns`` an address or not."""

    network: Record
    kind: str
    assigns_address: bool


class Networks:
    """The networks and subnets of all environments, held in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._networks = Mirror(store, "network")
        self._subnets = Mirror(store, "subnet")
        self._by_account: dict[int, dict[int, Record]] = {}
        self._subnets_of: dict[int, dict[int, Record]] = {}
        self._making: dict[int, asyncio.Task[None]] = {}
        self._networks.on_change(self._index_network)
        self._subnets.on_change(self._index_subnet)

    async def of(self, account_id: int) -> list[Record]:
        """The networks of an environment; its default ones are made now if that did not happen yet."""
        await self._networks.ready()
        await self._subnets.ready()
        if not self._by_account.get(account_id):
            await self._make_defaults(account_id)
        return list(self._by_account.get(account_id, {}).values())

    def get(self, network_id: int | None) -> Record | None:
        return self._networks.get(network_id)

    def subnet(self, network_id: int) -> Record | None:
        """The subnet that addresses of a network come from: its first one."""
        subnets = self._subnets_of.get(network_id)
        return subnets[min(subnets)] if subnets else None

    async def choose(self, account_id: int, mode: str | None, labels: Mapping[str, Any]) -> Record:
        """The network a new container asks for. Raises NoSuchNetwork, or NetworkPending when it is on its way."""
        networks = await self.of(account_id)
        wanted = str(labels.get(CNI_LABEL) or mode or "")
        if not labels.get(CNI_LABEL) and wanted in _OVERRIDABLE and _is_true(labels.get(NETWORK_LABEL)):
            wanted = MANAGED
        if wanted in ("", MANAGED):
            return await self._default(account_id, networks)
        if wanted == "container":
            return _first(networks, wanted, kind="dockerContainer")
        if wanted in _MODES:
            return _first(networks, wanted, kind=_MODES[wanted])
        return _first(networks, wanted, name=wanted)

    def attach(self, network: Record, host_kind: str) -> Attachment:
        """How to connect on a host of this kind; see the top of this module."""
        if network.kind.startswith("docker"):
            return Attachment(network, network.kind, False)
        if host_kind == _SIMULATED or network["networkDriverId"] is not None:
            kind = "cni" if network.kind == MANAGED else network.kind
            return Attachment(network, kind, self.subnet(network.id) is not None)
        return Attachment(network, "dockerBridge", False)

    async def _default(self, account_id: int, networks: list[Record]) -> Record:
        account = await self._store.get("account", account_id)
        chosen = self.get(account["defaultNetworkId"]) if account is not None else None
        if (chosen is None or chosen["networkDriverId"] is None) and account is not None and awaits_stacks(account):
            raise NetworkPending("Waiting for the infrastructure of the environment")
        return chosen or _first(networks, MANAGED, kind=MANAGED)

    async def _make_defaults(self, account_id: int) -> None:
        """Once for all who wait: they go on together, so that their next reads share a statement."""
        making = self._making.get(account_id)
        if making is None:
            making = self._making[account_id] = asyncio.create_task(self._commit_defaults(account_id))
            making.add_done_callback(lambda _: self._making.pop(account_id, None))
        await asyncio.shield(making)

    async def _commit_defaults(self, account_id: int) -> None:
        account = await self._store.get("account", account_id)
        if account is None:
            raise NoSuchNetwork(f"environment {account_id} does not exist (any more)")
        changes = self._store.changes()
        changes.guard(account, defaultNetworkId=account["defaultNetworkId"])
        plan_default_networks(changes, account)
        try:
            await self._store.commit(changes)
        except ClaimTaken:
            return  # made by somebody else at the same moment, or removed on purpose since

    def _index_network(self, before: Record | None, after: Record | None) -> None:
        row = after or before
        if row is None or row.account_id is None:
            return
        networks = self._by_account.setdefault(row.account_id, {})
        if after is None:
            networks.pop(row.id, None)
        else:
            networks[row.id] = after

    def _index_subnet(self, before: Record | None, after: Record | None) -> None:
        row = after or before
        if row is None:
            return
        subnets = self._subnets_of.setdefault(int(row["networkId"]), {})
        if after is None:
            subnets.pop(row.id, None)
        else:
            subnets[row.id] = after


def awaits_stacks(environment: Record) -> bool:
    """Whether an environment with a template misses stacks of it, or has some that were never started."""
    if environment["projectTemplateId"] is None:
        return False
    created = environment["createdStackIds"]
    return created is None or len(created) > len(environment["startedStackIds"] or ())


def _first(networks: list[Record], wanted: str, *, kind: str | None = None, name: str | None = None) -> Record:
    for network in networks:
        if network.state in ("active", "activating", "updating-active") and (
            (kind is not None and network.kind == kind) or (name is not None and network.name == name)
        ):
            return network
    raise NoSuchNetwork(f"Failed to find network for networkMode {wanted}")


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() == "true"
