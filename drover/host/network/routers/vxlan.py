"""`drover vxlan`: containers of different hosts reach each other through plain VXLAN.

Wire-compatible with the VXLAN router of Rancher 1.6: one device with VNI 1042 and port 4789, hardware addresses
computed from the routers' managed addresses. Nothing is encrypted or authenticated: it is for trusted networks.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import structlog

from drover.client.world import World
from drover.client.world.follow import follow
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.network.routers.carrier import Carrier
from drover.host.network.routers.devices import wait_for_own_link
from drover.host.network.routers.forwarding import DEVICE, PORT, VXLAN_OVERHEAD, Way, vtep_mac
from drover.host.network.routers.overlay import OwnLink, Peer
from drover.host.network.routers.settings import VxlanSettings
from drover.host.network.routers.vtep import Device

log = structlog.get_logger(__name__)


async def run_vxlan(settings: VxlanSettings) -> None:
    """Route until told to stop; the kernel goes on routing afterwards."""
    await run_until_stopped(_route(settings))


async def _route(settings: VxlanSettings) -> None:
    link = await wait_for_own_link(settings.interface)
    carrier = Carrier(link, vxlan_device(link, settings), way)
    world = World()

    def report() -> dict[str, object]:
        peers = [{"host": each.host_address, "router": each.router_ip} for each in carrier.overlay.peers.values()]
        return {**carrier.report(), "revision": world.revision, "peers": peers}

    log.info("vxlan.started", address=link.address, device=carrier.vtep.device.name, mtu=carrier.vtep.device.mtu)
    async with StatusServer(settings.status_listen, report), asyncio.TaskGroup() as tasks:
        tasks.create_task(carrier.keep_verifying(settings.verify_interval))
        async with aclosing(follow(settings.metadata_url, world)) as deltas:
            async for delta in deltas:
                await carrier.take(world, delta)


def vxlan_device(link: OwnLink, settings: VxlanSettings) -> Device:
    """The device of a router with this interface."""
    mtu = settings.vtep_mtu or link.mtu - VXLAN_OVERHEAD
    name = DEVICE if settings.vni == 1042 else f"vtep{settings.vni}"
    return Device(name=name, vni=settings.vni, port=PORT, mac=vtep_mac(link.address), mtu=mtu)


def way(peer: Peer) -> Way:
    """VXLAN goes to the peer's host, which hands it to its router."""
    return Way(peer.host_address)
