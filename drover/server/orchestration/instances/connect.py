"""Giving a container its place in the network: planned together with its place on a host."""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass
from typing import Any

import structlog

from drover.common.clock import now_ms
from drover.server.orchestration.instances.errors import StartFailed
from drover.server.orchestration.networks.addresses import Addresses, NoAddress, mac_address
from drover.server.orchestration.networks.resolve import Attachment, Networks
from drover.server.store import Changes, Record, Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a container is attached, and the values of its row that say so. ``taken`` is an address new to it."""

    attachment: Attachment
    subnet: Record | None
    values: dict[str, Any]
    taken: str | None = None


class Connector:
    """Attaches containers to the network they were created for."""

    def __init__(self, store: Store, networks: Networks, addresses: Addresses) -> None:
        self._store = store
        self._networks = networks
        self._addresses = addresses

    async def connect(self, changes: Changes, instance: Record, *, host_kind: str) -> Connection:
        """Plan the address, the interface and their row. A container that has its address keeps it."""
        await self._networks.of(int(instance["accountId"]))
        network = self._networks.get(instance["primaryNetworkId"])
        if network is None:
            raise StartFailed("The network of this container does not exist any more; create the container anew.")
        attachment = self._networks.attach(network, host_kind)
        subnet = self._networks.subnet(network.id) if attachment.assigns_address else None
        if subnet is None or instance["ipAddressId"] is not None:
            return Connection(attachment, subnet, {})
        await self._addresses.ready(subnet)
        await self._store.ensure_ids("ipAddress", 1)
        address, taken = await self._address(changes, instance, subnet)
        row = changes.insert(
            "ipAddress",
            {
                "uuid": str(uuid.uuid4()),
                "kind": "ipAddress",
                "role": "primary",
                "state": "active",
                "created": now_ms(),
                "accountId": instance["accountId"],
                "address": address,
                "instanceId": instance.id,
                "networkId": network.id,
                "subnetId": subnet.id,
            },
        )
        values = {
            "primaryIpAddress": address,
            "primaryMacAddress": mac_address(network, address),
            "ipAddressId": row.id,
        }
        return Connection(attachment, subnet, values, taken)

    def disconnect(self, connection: Connection) -> None:
        """The plan failed: its address is free again."""
        if connection.taken is not None and connection.subnet is not None:
            self._addresses.give_back(connection.subnet, connection.taken)

    async def _address(self, changes: Changes, instance: Record, subnet: Record) -> tuple[str, str | None]:
        """The address that the service retains for this index, else a wish, else any; and what is new of it."""
        owner = instance
        if instance["serviceIndexId"] is not None:
            index = await self._store.get("serviceIndex", int(instance["serviceIndexId"]))
            if index is not None and index["removed"] is None:
                if index["address"] and _belongs(str(index["address"]), subnet):
                    return str(index["address"]), None
                owner = index
        wishes = [wish.strip() for wish in str(instance["requestedIpAddress"] or "").split(",") if wish.strip()]
        try:
            address = self._addresses.take(changes, subnet, owner, wishes)
        except NoAddress as error:
            raise StartFailed(f"IP allocation error : {error}") from error
        if wishes and address not in wishes:
            log.info("instance.wish_unfulfilled", instance_id=instance.id, wishes=wishes, address=address)
        if owner is not instance:
            changes.guard(owner, address=owner["address"])
            changes.update(owner, {"address": address})
        return address, address


def _belongs(address: str, subnet: Record) -> bool:
    """A service keeps its address as long as its network stays the one that it is from."""
    network = ipaddress.IPv4Network(f"{subnet['networkAddress']}/{subnet['cidrSize']}", strict=False)
    return ipaddress.IPv4Address(address) in network
