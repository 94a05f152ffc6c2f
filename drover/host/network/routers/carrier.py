"""Keeps a router's VXLAN device in step with the world: what `drover vxlan` and the userland tunnels share.

The first pass waits until the world says which container this router is. After that an outage of metadata changes
nothing, and neither does the end of this program: everything is the kernel's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from drover.client.world import Delta, World
from drover.host.network.routers import metrics
from drover.host.network.routers.devices import answer_for_remote_addresses, set_checksum_offload
from drover.host.network.routers.firewall import checksum_rules, ensure_rules, router_rules
from drover.host.network.routers.forwarding import ChooseWay, forwarding
from drover.host.network.routers.iproute import KernelRefused
from drover.host.network.routers.overlay import Changed, Overlay, OwnLink
from drover.host.network.routers.vtep import Device, Vtep

log = structlog.get_logger(__name__)


class Carrier:
    """One router's interface, device, tables and packet rules."""

    def __init__(
        self, link: OwnLink, device: Device, choose: ChooseWay, *, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """`prepare` makes what a router needs besides; it is called in every full pass."""
        self.overlay = Overlay(link)
        self.vtep = Vtep(device)
        self.last_error: str | None = None
        self.unsettled = asyncio.Event()
        """Set while a full pass is due."""
        self._link = link
        self._choose = choose
        self._prepare = prepare
        self._lock = asyncio.Lock()
        self._cuts = False

    async def take(self, world: World, delta: Delta) -> Changed:
        """Follow the world by one delta."""
        changed = self.overlay.take(world, delta)
        if not changed:
            return changed
        async with self._lock:
            try:
                await self._apply(changed)
            except KernelRefused as error:
                self._failed(error)
        self._measure()
        return changed

    async def refresh(self) -> None:
        """Compute and change what the choice of ways has altered, or what the kernel has not taken yet."""
        async with self._lock:
            try:
                await self._apply(Changed(everything=True))
            except KernelRefused as error:
                self._failed(error)
        self._measure()

    async def verify(self) -> None:
        """Compare everything with the kernel and repair it."""
        if self.overlay.place is None:
            return
        async with self._lock:
            try:
                repaired = await self._pass()
            except KernelRefused as error:
                self._failed(error)
                return
        if repaired:
            metrics.REPAIRS.inc(repaired)
            log.info("router.repaired", entries=repaired)
        self._measure()

    async def keep_verifying(self, interval: float, *, retry: float = 2.0) -> None:
        """A pass every so often, sooner when something was refused."""
        while True:
            try:
                async with asyncio.timeout(interval):
                    await self.unsettled.wait()
                await asyncio.sleep(retry)
            except TimeoutError:
                pass
            await self.verify()

    async def _apply(self, changed: Changed) -> None:
        if self.overlay.place is None:
            return
        if changed.everything or changed.hosts or not self.vtep.settled:
            metrics.CHANGES.inc(await self._pass())
        else:
            some = forwarding(self.overlay, self._choose, changed.ips)
            metrics.CHANGES.inc(await self.vtep.apply_some(changed.ips, some))
            self._note_settled()

    async def _pass(self) -> int:
        place = self.overlay.place
        assert place is not None
        device = self.vtep.device
        await self.vtep.ensure_device()
        await self._settle_checksums()
        for name in (self._link.name, device.name):
            await answer_for_remote_addresses(name)
        if self._prepare is not None:
            await self._prepare()
        await ensure_rules(router_rules(gateway=place.gateway, address=place.address, out=device.name))
        count = await self.vtep.apply_all(forwarding(self.overlay, self._choose))
        self._note_settled()
        return count

    async def _settle_checksums(self) -> None:
        """Let no packet leave that address translation would spoil, and large ones whole if that can be had.

        Without the rule, which is an extension of iptables that a kernel may lack, the interface itself must compute
        all checksums, and cut large packets for it: a third of the throughput, but correct.
        """
        link, port = self._link.name, self.vtep.device.port
        try:
            await ensure_rules(checksum_rules(interface=link, port=port))
        except KernelRefused as error:
            if not self._cuts:
                log.info("checksums.without-rule", reason=str(error))
            self._cuts = True
        else:
            self._cuts = False
        set_checksum_offload(link, on=not self._cuts)

    def _note_settled(self) -> None:
        if self.vtep.settled:
            self.unsettled.clear()
            self.last_error = None
        else:
            self.unsettled.set()
            self.last_error = self.vtep.last_refusal
            metrics.REFUSALS.inc()

    def _failed(self, error: KernelRefused) -> None:
        self.last_error = str(error)
        self.unsettled.set()
        log.warning("router.refused", error=str(error))

    def _measure(self) -> None:
        metrics.REMOTE_ADDRESSES.set(len(self.vtep.known.routes))
        metrics.PEERS.set(len(self.overlay.peers))

    def report(self) -> dict[str, object]:
        """For /status."""
        overlay, place = self.overlay, self.overlay.place
        waiting = sorted({each.host_address for each in overlay.remotes.values()} - overlay.peers.keys())
        return {
            "healthy": self.last_error is None,
            "address": place.address if place else None,
            "host_address": place.host_address if place else None,
            "device": self.vtep.device.name,
            "mtu": self.vtep.device.mtu,
            "remote_addresses": len(overlay.remotes),
            "routed_addresses": len(self.vtep.known.routes),
            "hosts_without_router": waiting,
            "settled": self.vtep.settled,
            "last_error": self.last_error,
        }
