"""The processes of networks: their subnets, the prefix of their MAC addresses, and who is the default."""

from __future__ import annotations

import random
import uuid
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import Delegate, Done, Handlers, Outcome, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.networks.default_network import DefaultNetworks
from drover.server.orchestration.networks.subnets import subnet_values
from drover.server.orchestration.plain import follow
from drover.server.orchestration.removal import removed
from drover.server.store import Changes, Record

log = structlog.get_logger(__name__)

_MAC_CLAIM = "mac-prefix:"
CNI_CONFIG = "cniConfig"


class NetworkHandlers:
    """What happens to networks, process by process. Subnets have no life of their own: they are made and go with it."""

    def __init__(self, context: Context, defaults: DefaultNetworks) -> None:
        self._context = context
        self._defaults = defaults

    def register(self, handlers: Handlers) -> None:
        handlers.register("network.create", self.create)
        handlers.register("network.activate", self.activate)
        handlers.register("network.deactivate", self.deactivate)
        handlers.register("network.remove", self.remove)

    async def create(self, run: Run) -> Outcome:
        """Subnets, metadata and activation are one commit, so a repeated run finds all of it or nothing."""
        network = run.record
        changes = run.plan()
        for given in network["subnets"] or ():
            plan_subnet(changes, network, given)
        driver = None
        if network["networkDriverId"] is not None:
            driver = await run.store.get("networkDriver", int(network["networkDriverId"]))
        values = {} if driver is None else {"metadata": metadata_of(network, driver)}
        return Delegate(values, changes)

    async def activate(self, run: Run) -> Outcome:
        network = run.record
        if network["macPrefix"] is None and not network.kind.startswith("docker"):
            await self._reserve_prefix(run)
        await self._recompute(network)
        return Done()

    async def deactivate(self, run: Run) -> Outcome:
        await self._recompute(run.record)
        return await follow(run)

    async def remove(self, run: Run) -> Outcome:
        network = run.record
        changes = run.plan()
        for subnet in await run.store.find_by("subnet", networkId=network.id, removed=None):
            changes.update(subnet, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
            changes.release_all(subnet)
        changes.release_all(network)
        await self._recompute(network)
        return Done(removed(self._context.settings, "network"), changes)

    async def _recompute(self, network: Record) -> None:
        if network.account_id is not None:
            await self._defaults.recompute(network.account_id)

    async def _reserve_prefix(self, run: Run) -> None:
        """Three octets that no other network of the installation has; a claim decides between two that choose alike."""
        settings = self._context.settings
        first, last = (_number(settings.get(f"mac.prefix.{end}")) for end in ("start", "end"))
        taken = {_number(key.removeprefix(_MAC_CLAIM)) for key in await run.store.claimed(_MAC_CLAIM)}
        size = last - first + 1
        start = random.randrange(size)  # noqa: S311 - two servers shall not try the same ones, that is all
        free = (first + (start + step) % size for step in range(size))
        prefix = next((number for number in free if number not in taken), None)
        if prefix is None:
            text = settings.get("mac.unassigned.prefix")
            log.warning("networks.mac_prefixes_used_up", network_id=run.record.id, prefix=text)
            await run.apply({"macPrefix": f"{text}:00:00"})
            return
        changes = run.plan()
        changes.claim(f"{_MAC_CLAIM}{_text(prefix)}", run.record)
        await run.apply({"macPrefix": _text(prefix)}, changes)


def plan_subnet(changes: Changes, network: Record, given: dict[str, Any]) -> Record:
    """Plan a subnet of a network. Raises BadSubnet."""
    return changes.insert(
        "subnet",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "subnet",
            "accountId": network.account_id,
            "networkId": network.id,
            "state": "active",
            "created": now_ms(),
            **subnet_values(given),
        },
    )


def metadata_of(network: Record, driver: Record) -> dict[str, Any]:
    """A network's own metadata, with what its driver says: that is what hosts configure it from."""
    config = driver[CNI_CONFIG]
    return {
        **(network["metadata"] or {}),
        **(driver["networkMetadata"] or {}),
        **({CNI_CONFIG: config} if config else {}),
    }


def _number(prefix: str) -> int:
    return int(prefix.replace(":", ""), 16)


def _text(number: int) -> str:
    return number.to_bytes(3, "big").hex(":")
