"""Addresses of subnets: handed out from memory, guarded by claims in the database.

The free addresses of a subnet are known after one read; from then on every commit is heard. An address is reserved
in memory the moment it is chosen and belongs to its container once the plan with its claim is durable.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Sequence

import sqlalchemy as sa

from drover.server.resources.tables import table
from drover.server.store import Changes, Condition, Query, Record, Store, Touched


class NoAddress(Exception):
    """The subnet is full; the text is for the user."""


class _Pool:
    """The addresses of one subnet as numbers: those of containers, and those that services retain."""

    def __init__(self, subnet: Record) -> None:
        self.account_id = subnet.account_id
        network = ipaddress.IPv4Network(f"{subnet['networkAddress']}/{subnet['cidrSize']}", strict=False)
        self.first = int(ipaddress.IPv4Address(subnet["startAddress"] or network.network_address + 2))
        self.last = int(ipaddress.IPv4Address(subnet["endAddress"] or network.broadcast_address - 5))
        self.used: set[int] = set()
        self.retained: set[int] = set()

    def is_free(self, number: int) -> bool:
        return number not in self.used and number not in self.retained

    def take(self, wishes: Sequence[str]) -> int:
        for wish in wishes:
            number = _number(wish)
            if number is not None and self.first <= number <= self.last and self.is_free(number):
                self.used.add(number)
                return number
        size = self.last - self.first + 1
        # At a random place: an address just given up is then unlikely to meet old caches of its former owner.
        start = random.randrange(size)  # noqa: S311 - nothing secret about it
        for step in range(size):
            number = self.first + (start + step) % size
            if self.is_free(number):
                self.used.add(number)
                return number
        raise NoAddress("Failed to allocate IP from subnet")


class Addresses:
    """The address pools of all subnets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pools: dict[int, _Pool] = {}
        self._loading = asyncio.Lock()
        store.listen(self._hear)

    async def ready(self, subnet: Record) -> None:
        """Know which addresses of the subnet are taken."""
        if subnet.id in self._pools:
            return
        async with self._loading:
            if subnet.id in self._pools:
                return
            pool = self._pools[subnet.id] = _Pool(subnet)  # in place before the read, so that nothing goes unheard
            rows = table("ipAddress").c
            statement = sa.select(rows.address).where(rows.subnet_id == subnet.id, rows.removed.is_(None))
            pool.used.update(number for row in await self._store.rows(statement) if (number := _number(row.address)))
            indexes = Query("serviceIndex", (Condition("address", "notnull"), Condition("removed", "null")))
            if subnet.account_id is not None:
                indexes = Query("serviceIndex", (*indexes.conditions, Condition("accountId", "eq", subnet.account_id)))
            for index in await self._store.find(indexes):
                number = _number(str(index["address"]))
                if number is not None:
                    pool.retained.add(number)

    def take(self, changes: Changes, subnet: Record, owner: Record, wishes: Sequence[str] = ()) -> str:
        """Choose an address, the first free wish if any, and plan the claim. Give it back if the commit fails."""
        number = self._pools[subnet.id].take(wishes)
        address = str(ipaddress.IPv4Address(number))
        changes.claim(claim_key(subnet.id, address), owner)
        return address

    def give_back(self, subnet: Record, address: str) -> None:
        """The plan that was to take the address did not come true."""
        pool = self._pools.get(subnet.id)
        number = _number(address)
        if pool is not None and number is not None:
            pool.used.discard(number)

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == "ipAddress":
                self._hear_address(row)
            elif row.type == "serviceIndex":
                self._hear_index(row)

    def _hear_address(self, row: Touched) -> None:
        record = row.after or row.before
        pool = self._pools.get(record["subnetId"]) if record is not None and record["subnetId"] is not None else None
        number = _number(str(record["address"])) if record is not None else None
        if pool is None or number is None:
            return
        if row.after is not None and row.after["removed"] is None:
            pool.used.add(number)
        else:
            pool.used.discard(number)

    def _hear_index(self, row: Touched) -> None:
        """A retained address of a service index is free again when the index goes."""
        before = _retained(row.before)
        after = _retained(row.after)
        if before == after:
            return
        for pool in self._pools.values():
            if pool.account_id not in (None, row.account_id):
                continue
            if before is not None:
                pool.retained.discard(before)
            if after is not None:
                pool.retained.add(after)


def claim_key(subnet_id: int, address: str) -> str:
    """The key that whoever owns an address holds: a container, or the index of a service that retains it."""
    return f"ip:{subnet_id}:{address}"


def mac_address(network: Record, address: str) -> str:
    """The address of a container's interface, derived from its IP: unique in its network, the same after a restart."""
    prefix = str(network["macPrefix"] or "02:00:00")
    octets = int(ipaddress.IPv4Address(address)).to_bytes(4, "big")[1:]
    return ":".join((prefix, *(f"{octet:02x}" for octet in octets)))


def _retained(index: Record | None) -> int | None:
    if index is None or index["removed"] is not None or not index["address"]:
        return None
    return _number(str(index["address"]))


def _number(text: str) -> int | None:
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        return None
