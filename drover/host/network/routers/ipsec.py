"""`drover ipsec`: containers of different hosts reach each other through encrypted tunnels.

Where the kernel has ESP it encrypts, wire-compatible with Rancher 1.6; where it has not, strongSwan does in user
space, and the containers' packets travel as VXLAN between the routers inside the tunnels. Each pair of hosts uses the
best that both have (see `connections`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import structlog

from drover.client.world import Delta, World
from drover.client.world.follow import follow
from drover.common.backoff import Backoff
from drover.common.errors import SettingsError
from drover.common.lifetime import run_until_stopped
from drover.common.status import StatusServer
from drover.host.network.routers import policies
from drover.host.network.routers.carrier import Carrier
from drover.host.network.routers.charon import Charon, Kernel, chosen_kernel
from drover.host.network.routers.connections import Datapath, Form, Timing, ends_of
from drover.host.network.routers.devices import wait_for_own_link
from drover.host.network.routers.firewall import ensure_rules, guard_rules
from drover.host.network.routers.forwarding import DEVICE, PORT, VNI, Way, vtep_mac
from drover.host.network.routers.iproute import KernelRefused, checked, query
from drover.host.network.routers.keeper import become_keeper
from drover.host.network.routers.keys import KeySource, NoKey
from drover.host.network.routers.overlay import OwnLink, Peer, Remote
from drover.host.network.routers.separate import SeparateCharon
from drover.host.network.routers.settings import IpsecSettings
from drover.host.network.routers.tunnels import Tunnels
from drover.host.network.routers.vtep import Device

log = structlog.get_logger(__name__)

TUNNEL_MTU = 1350
"""What fits into VXLAN inside strongSwan's TUN device, whose 1400 bytes are fixed when it is built."""
TUNNEL_OVERHEAD = 150
PEER_TABLE = "1042"
PEER_RULE = "200"
"""Before charon's own rule (220): what containers send to a peer's router takes VXLAN like everything of theirs."""
KEY_PAUSE_SECONDS = 0.5
"""Many peers may refuse a key at the same moment; the server is asked once."""


async def run_ipsec(settings: IpsecSettings) -> None:
    """Route until told to stop; the kernel and charon go on afterwards."""
    if settings.keep:
        become_keeper(sys.argv[1:])
    await run_until_stopped(_route(settings))


async def _route(settings: IpsecSettings) -> None:
    kernel = await chosen_kernel(settings.datapath)
    link = await wait_for_own_link(settings.interface)
    router = IpsecRouter(settings, link, kernel)
    log.info("ipsec.started", address=link.address, datapath=kernel.datapath.value, gcm=kernel.gcm)
    async with StatusServer(settings.status_listen, router.report), asyncio.TaskGroup() as tasks:
        tasks.create_task(router.tunnels.run())
        tasks.create_task(router.keep_keys())
        tasks.create_task(router.carrier.keep_verifying(settings.verify_interval))
        async with aclosing(follow(settings.metadata_url, router.world)) as deltas:
            async for delta in deltas:
                await router.take(delta)


class IpsecRouter:
    """One host's router: its tables, its tunnels and its keys."""

    def __init__(self, settings: IpsecSettings, link: OwnLink, kernel: Kernel) -> None:
        self.world = World()
        self.kernel = kernel
        self.carrier = Carrier(link, tunnel_device(link, settings.vtep_mtu), self._way, prepare=self._prepare)
        self.key_error: str | None = None
        self._keys = KeySource(settings)
        self._key_interval = settings.key_interval
        self._ask_key = asyncio.Event()
        self._key_mark: object = None
        self._policy_error: str | None = None
        self.tunnels = Tunnels(
            charon_of(settings, kernel),
            Timing(
                ike_rekey=settings.ike_rekey, child_rekey=settings.child_rekey, replay_window=settings.replay_window
            ),
            overrides=read_overrides(settings.ipsec_config),
            changed=self._forms_changed,
            doubt_key=self._ask_key.set,
            verify_interval=settings.verify_interval,
        )

    async def take(self, delta: Delta) -> None:
        """Follow the world by one delta."""
        changed = await self.carrier.take(self.world, delta)
        overlay = self.carrier.overlay
        place = overlay.place
        if place is None:
            return
        if changed.everything or changed.hosts:
            ends = {host: ends_of(place.host_address, place.address, peer) for host, peer in overlay.peers.items()}
            self.tunnels.want(ends, place.address)
        if changed:
            await self._apply_policies()
        mark = key_mark(self.world, place.network.uuid)
        if mark != self._key_mark:
            self._key_mark = mark
            self._ask_key.set()

    async def keep_keys(self) -> None:
        """Read the keys at start, when one was refused, when the network says they changed, and every so often."""
        waiting = Backoff(initial=1.0, maximum=30.0)
        while True:
            self._ask_key.clear()
            try:
                keys = await self._keys.read()
            except NoKey as error:
                self.key_error = str(error)
                pause = waiting.next_delay()
                log.warning("key.missing", reason=str(error), retry_in=round(pause, 1))
                await asyncio.sleep(pause)
                continue
            waiting.reset()
            self.key_error = None
            self.tunnels.use(keys)
            try:
                async with asyncio.timeout(min(self._key_interval, keys.refresh_seconds or self._key_interval)):
                    await self._ask_key.wait()
                await asyncio.sleep(KEY_PAUSE_SECONDS)
            except TimeoutError:
                continue

    def _way(self, peer: Peer) -> Way | None:
        form = self.tunnels.form_of(peer.host_address)
        if form is Form.TUNNEL:
            return Way(peer.router_ip, router_table=PEER_TABLE)
        # Also before anything is agreed on: the packets must not leave in the clear.
        return Way(None)

    def _is_compat(self, remote: Remote) -> bool:
        return self.tunnels.form_of(remote.host_address) is not Form.TUNNEL

    async def _forms_changed(self) -> None:
        await self.carrier.refresh()
        await self._apply_policies()

    async def _apply_policies(self) -> None:
        if self.kernel.datapath is not Datapath.KERNEL:
            return
        try:
            await policies.apply(policies.policies(self.carrier.overlay, self._is_compat))
            self._policy_error = None
        except KernelRefused as error:
            self._policy_error = str(error)
            self.carrier.unsettled.set()
            log.warning("policies.refused", error=str(error))

    async def _prepare(self) -> None:
        """The rule that sends containers' packets for a peer's router into VXLAN, and the guard against clear text."""
        interface = self.carrier.overlay.link.name
        rules = await query("ip", "-json", "-4", "rule", "show", "priority", PEER_RULE)
        if not any(rule.get("iif") == interface and str(rule.get("table")) == PEER_TABLE for rule in rules):
            await checked("ip", "rule", "add", "priority", PEER_RULE, "iif", interface, "lookup", PEER_TABLE)
        in_kernel = self.kernel.datapath is Datapath.KERNEL
        await ensure_rules(guard_rules(interface=interface, port=PORT, kernel=in_kernel))

    def report(self) -> dict[str, object]:
        """For /status."""
        carrier = self.carrier.report()
        errors = (self.key_error, self.tunnels.last_error, self._policy_error, carrier["last_error"])
        peers = self.tunnels.report()
        return {
            **carrier,
            "healthy": not any(errors),
            "last_error": next((error for error in errors if error), None),
            "datapath": self.kernel.datapath.value,
            "gcm": self.kernel.gcm,
            "revision": self.world.revision,
            "tunnels_up": sum(1 for peer in peers if peer["up"]),
            "peers": peers,
        }


def charon_of(settings: IpsecSettings, kernel: Kernel) -> Charon:
    """The charon that runs apart, if there is to be one, else this program's own."""
    if settings.charon_dir is not None:
        return SeparateCharon(settings.charon_dir, kernel, debug=settings.debug)
    return Charon(settings.state_dir, kernel, program=settings.charon, debug=settings.debug)


def tunnel_device(link: OwnLink, mtu: int) -> Device:
    """The VXLAN device whose packets go through the tunnels; they come from the router's own address."""
    fitting = min(TUNNEL_MTU, link.mtu - TUNNEL_OVERHEAD)
    return Device(
        name=DEVICE,
        vni=VNI,
        port=PORT,
        mac=vtep_mac(link.address),
        mtu=min(mtu, fitting) if mtu else fitting,
        local=link.address,
    )


def key_mark(world: World, network: str) -> object:
    """What changes in the network's metadata when the server exchanges its key."""
    known = world.networks.get(network)
    return None if known is None else known.metadata.get("pskRevision")


def read_overrides(folder: Path) -> dict[str, Any]:
    """An operator's changes to connections (`ike.conf`) and their children (`childsa.conf`), as JSON objects.

    Raises SettingsError for a file that is none.
    """
    result: dict[str, Any] = {}
    for name in ("ike.conf", "childsa.conf"):
        path = folder / name
        if not path.exists():
            continue
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise SettingsError(f"{path} must be a JSON object with charon's settings")
        if name == "ike.conf":
            result |= content
        else:
            result["children"] = content
    return result
