"""From a service that offers a network driver to the network itself.

A service of a system stack with the field ``networkDriver`` has a driver row; an active driver without a network has
its ``defaultNetwork`` made. Other than in Rancher 1.6, a changed CNI configuration reaches the networks that exist
already: hosts see it through metadata. Subnets, policies and ``hostPorts`` of a network never change that way.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.lifecycle import Done, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.networks.handlers import metadata_of
from drover.server.orchestration.networks.subnets import BadSubnet, subnet_values
from drover.server.orchestration.removal import removed
from drover.server.store import ClaimTaken, Record, StoreError

log = structlog.get_logger(__name__)

SERVICE_KIND = "networkDriverService"
_SETTLED_SECONDS = 60.0
_TRIES = 10
_NETWORK_FIELDS = ("name", "dns", "dnsSearch", "hostPorts", "subnets", "metadata", "policy", "defaultPolicyAction")
# Switches of the CNI plug-ins; text from a template's answers becomes JSON booleans, as the plug-ins insist on them.
# ``isDebugLevel`` is none of them: the plug-ins declare it as text.
_SWITCHES = frozenset(
    {"hairpinMode", "promiscMode", "hostNat", "isDefaultGateway", "isGateway", "ipMasq", "skipBridgeConfigureIP"}
    | {"skipFastPath"}
)


class NetworkDrivers:
    """Keeps drivers and their networks as their services say."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register(self, handlers: Handlers) -> None:
        handlers.register("networkdriver.activate", self.activate)
        handlers.register("networkdriver.update", self.update)
        handlers.register("networkdriver.remove", self.remove)

    # Called by the processes of the service

    async def keep(self, service: Record) -> None:
        """Make the driver what the service's field says, and wait until its network can be joined."""
        given = service["networkDriver"]
        if not given or not service["system"]:
            return
        for _ in range(_TRIES):
            driver = await self._driver_of(service)
            if driver is None:
                await self._create(service, given)
            elif driver.state in ("requested", "inactive"):
                await self._schedule("networkdriver.activate", driver)
            elif driver.state == "active" and (values := _differing(driver, driver_values(service, given))):
                await self._schedule("networkdriver.update", driver, values)
            elif driver.state == "active":
                return
            else:
                await self._settled(driver)
        raise RuntimeError(f"the network driver of service {service.name} does not settle")

    async def drop(self, service: Record) -> None:
        """Remove the driver with its networks, and wait for it."""
        driver = await self._driver_of(service)
        if driver is None:
            return
        await self._schedule("networkdriver.remove", driver)
        await self._gone(driver)

    async def _driver_of(self, service: Record) -> Record | None:
        return await self._context.store.first("networkDriver", serviceId=service.id, removed=None)

    async def _create(self, service: Record, given: Mapping[str, Any]) -> None:
        changes = self._context.store.changes()
        driver = changes.insert(
            "networkDriver",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "networkDriver",
                "accountId": service.account_id,
                "serviceId": service.id,
                "state": "requested",
                "created": now_ms(),
                **driver_values(service, given),
            },
        )
        changes.claim(f"network-driver:{service.id}", driver)
        self._context.engine.schedule(changes, "networkdriver.activate", driver)
        try:
            await self._context.store.commit(changes)
        except ClaimTaken:
            log.debug("networks.driver_made_elsewhere", service_id=service.id)

    async def _schedule(self, process: str, record: Record, values: Mapping[str, Any] | None = None) -> None:
        """Schedule unless somebody else did, or the row moved on: the caller looks again anyway."""
        changes = self._context.store.changes()
        try:
            planned = self._context.engine.schedule(changes, process, record)
            if values:
                changes.update(planned, values)
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as lost:
            log.debug("networks.driver_busy", process=process, driver_id=record.id, reason=str(lost))

    async def _settled(self, record: Record) -> None:
        await self._context.watch.until(
            record.type,
            record.id,
            lambda row: row is None or row["removed"] is not None or row.state in ("active", "inactive"),
            timeout=_SETTLED_SECONDS,
        )

    async def _gone(self, record: Record) -> None:
        await self._context.watch.until(
            record.type, record.id, lambda row: row is None or row["removed"] is not None, timeout=_SETTLED_SECONDS
        )

    # The driver's processes

    async def activate(self, run: Run) -> Outcome:
        """A driver without a network has its default one made; done when containers can join it."""
        driver = run.record
        wanted: Mapping[str, Any] = driver["defaultNetwork"] or {}
        networks = await self._networks_of(driver)
        if not networks and wanted:
            changes = run.plan()
            network = changes.insert("network", network_values(driver, wanted))
            changes.claim(f"driver-network:{driver.id}", network)
            network = self._context.engine.schedule(changes, "network.create", network)
            await run.apply(changes=changes)
            networks = [network]
        for network in networks:
            await self._settled(network)
        return Done()

    async def update(self, run: Run) -> Outcome:
        driver = run.record
        changes = run.plan()
        for network in await self._networks_of(driver):
            metadata = metadata_of(network, driver)
            if metadata != (network["metadata"] or {}):
                changes.update(network, {"metadata": metadata})
            await self._warn_of_subnets(network, driver)
        return Done(changes=changes)

    async def _warn_of_subnets(self, network: Record, driver: Record) -> None:
        """Addresses in use cannot be moved: a new SUBNET in the answers of a stack changes nothing."""
        wanted = (driver["defaultNetwork"] or {}).get("subnets") or []
        have = await self._context.store.find_by("subnet", networkId=network.id, removed=None)
        for given, subnet in zip(wanted, sorted(have, key=lambda row: row.id), strict=False):
            try:
                values = subnet_values(given)
            except BadSubnet as bad:
                log.warning("networks.bad_subnet", network=network.name, reason=str(bad))
                continue
            if _differing(subnet, values):
                log.warning(
                    "networks.subnet_unchanged",
                    network=network.name,
                    present=f"{subnet['networkAddress']}/{subnet['cidrSize']}",
                    wanted=f"{values['networkAddress']}/{values['cidrSize']}",
                    fix="remove the network stack and install it with the new subnet",
                )

    async def remove(self, run: Run) -> Outcome:
        networks = await self._networks_of(run.record)
        for network in networks:
            for process in ("network.deactivate", "network.remove"):
                if self._context.engine.can_schedule(process, network):
                    changes = run.plan()
                    self._context.engine.schedule(changes, process, network, {"chainTo": "network.remove"})
                    await run.apply(changes=changes)
                    break
        async with asyncio.TaskGroup() as group:
            for network in networks:
                group.create_task(self._gone(network))
        changes = run.plan()
        changes.release_all(run.record)
        return Done(removed(self._context.settings, "networkDriver"), changes)

    async def _networks_of(self, driver: Record) -> list[Record]:
        return await self._context.store.find_by("network", networkDriverId=driver.id, removed=None)


def driver_values(service: Record, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the driver row, from the field of its service."""
    return {
        "name": given.get("name") or service.name,
        "cniConfig": _typed(given.get("cniConfig") or {}),
        "networkMetadata": given.get("networkMetadata") or {},
        "defaultNetwork": given.get("defaultNetwork") or {},
    }


def network_values(driver: Record, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A new network as its driver describes it."""
    return {
        "uuid": str(uuid.uuid4()),
        "kind": wanted.get("kind") or ("cni" if driver["cniConfig"] else "network"),
        "accountId": driver.account_id,
        "networkDriverId": driver.id,
        "state": "requested",
        "created": now_ms(),
        "hostPorts": False,
        "defaultPolicyAction": "allow",
        **{name: wanted[name] for name in _NETWORK_FIELDS if wanted.get(name) is not None},
    }


def _typed(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {key: _switch(value) if key in _SWITCHES else _typed(value) for key, value in config.items()}
    if isinstance(config, list):
        return [_typed(each) for each in config]
    return config


def _switch(value: Any) -> Any:
    text = str(value).strip().lower()
    return text == "true" if text in ("true", "false") else value


def _differing(record: Record, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if (record[name] or None) != (value or None)}
