"""The VXLAN device of a router and its tables: compare with the kernel, change what differs.

What was applied last is remembered, so a change of one container is one route and one neighbour entry and no look at
the kernel. A pass over everything reads what is really there; it runs at start, after a refused change and every so
often, and repairs what others have done to the tables.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import structlog

from drover.host.network.routers.forwarding import MAIN_TABLE, Batches, Forwarding, difference
from drover.host.network.routers.iproute import batch, checked, query

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """A VXLAN device as it should be. ``local`` is the source address of what it sends, if not the kernel's choice."""

    name: str
    vni: int
    port: int
    mac: str
    mtu: int
    local: str | None = None


class Vtep:
    """One router's VXLAN device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.refused = 0
        self.last_refusal: str | None = None
        self._known: Forwarding | None = None

    @property
    def known(self) -> Forwarding:
        """What was applied last; empty before the first pass."""
        return self._known or Forwarding()

    @property
    def settled(self) -> bool:
        """Whether the kernel has taken everything. If not, a full pass is due."""
        return self._known is not None

    async def ensure_device(self) -> None:
        """Make the device, or put right what differs. Raises KernelRefused when the kernel will not have it."""
        device = self.device
        links = await query("ip", "-json", "-details", "link", "show", "dev", device.name)
        if links and not _is(links[0], device):
            log.info("vtep.replaced", device=device.name)
            await checked("ip", "link", "del", device.name)
            links = []
        if not links:
            local = ("local", device.local) if device.local else ()
            await checked(
                *("ip", "link", "add", device.name, "address", device.mac, "mtu", str(device.mtu)),
                *("type", "vxlan", "id", str(device.vni), "dstport", str(device.port), "nolearning", *local),
            )
            self._known = None
            links = [{"address": device.mac, "mtu": device.mtu}]
        link = links[0]
        if link.get("address") != device.mac or link.get("mtu") != device.mtu:
            await checked("ip", "link", "set", device.name, "address", device.mac, "mtu", str(device.mtu))
        if "UP" not in link.get("flags", ()):
            await checked("ip", "link", "set", device.name, "up")

    async def apply_all(self, wanted: Forwarding) -> int:
        """Make the kernel's tables those wanted; how many entries differed."""
        changes = difference(await self._read(), wanted, self.device.name)
        self._known = wanted if await self._do(changes) else None
        return len(changes)

    async def apply_some(self, ips: Collection[str], wanted: Forwarding) -> int:
        """Change what differs about some addresses from what was applied last; how many entries that were."""
        if self._known is None:
            raise RuntimeError("some addresses can be changed only after all have been applied")
        changes = difference(self._known.only(ips), wanted, self.device.name)
        known = self._known
        known.take_over(ips, wanted)
        self._known = known if await self._do(changes) else None
        return len(changes)

    async def _do(self, changes: Batches) -> bool:
        failed = [
            *await batch("bridge", changes.enter),
            *await batch("ip", changes.tables),
            *await batch("bridge", changes.leave),
        ]
        if failed:
            self.refused += len(failed)
            self.last_refusal = failed[0]
            log.warning("vtep.refused", device=self.device.name, entries=len(failed), first=failed[0])
        return not failed

    async def _read(self) -> Forwarding:
        name = self.device.name
        routes = await query("ip", "-json", "-4", "route", "show", "table", "all", "dev", name)
        neighbours = await query("ip", "-json", "-4", "neighbour", "show", "dev", name)
        entries = await query("bridge", "-json", "fdb", "show", "dev", name)
        return Forwarding(
            routes={
                str(row["dst"]): str(row.get("table", MAIN_TABLE))
                for row in routes
                if row.get("type", "unicast") == "unicast" and "/" not in str(row["dst"])
            },
            neighbours={
                str(row["dst"]): str(row["lladdr"]) for row in neighbours if "PERMANENT" in row.get("state", ())
            },
            fdb={str(row["mac"]): str(row["dst"]) for row in entries if "dst" in row and _is_unicast(row["mac"])},
        )


def _is(link: dict[str, Any], device: Device) -> bool:
    """Whether a link is this VXLAN device in what cannot be changed while it exists."""
    info = link.get("linkinfo", {})
    data = info.get("info_data", {})
    return (
        info.get("info_kind") == "vxlan"
        and data.get("id") == device.vni
        and data.get("port") == device.port
        and data.get("learning", True) is False
        and data.get("local") == device.local
    )


def _is_unicast(mac: str) -> bool:
    return int(mac[:2], 16) & 1 == 0 and mac != "00:00:00:00:00:00"
