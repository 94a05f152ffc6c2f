"""The slow loop of repairs: neighbours, MACs, cables, duplicates. Each part can be switched off; none is urgent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from drover.client.world import World
from drover.host.network.attach.attacher import Attached
from drover.host.network.docker import Docker, EngineError
from drover.host.network.namespaces import in_thread
from drover.host.network.settings import NetworkManagerSettings
from drover.host.network.sync.neighbours import correct_containers, correct_host, correct_mac, expected_neighbours
from drover.host.network.sync.reaper import Reaper, stale_metadata
from drover.host.network.sync.veths import VethSweeper

log = structlog.get_logger(__name__)

CONTAINER_ROUNDS = 10
"""How often containers' tables are looked at after an address changed its MAC: they may learn from a late packet."""


class Housekeeper:
    """`attached` is the attacher's own table, read when needed."""

    def __init__(
        self,
        settings: NetworkManagerSettings,
        docker: Docker,
        *,
        world: World,
        attached: Mapping[str, Attached],
    ) -> None:
        self._settings = settings
        self._docker = docker
        self._world = world
        self._attached = attached
        self._neighbours: dict[str, str] = {}
        self._rounds = 0
        self._macs: dict[str, str] = {}
        self._macs_checked: dict[str, str] = {}
        self._revision: tuple[str, int] | None = None
        self._veths = VethSweeper()
        self._reaper = Reaper()

    async def run(self) -> None:
        """Never returns. A part that fails is logged and has its next turn."""
        swept = time.monotonic()
        while True:
            await asyncio.sleep(self._settings.arpsync_interval)
            try:
                if self._world.loaded:
                    await self._correct()
                if time.monotonic() - swept >= self._settings.vethsync_interval:
                    swept = time.monotonic()
                    await self._sweep()
            except (NetlinkError, OSError, EngineError) as error:
                log.warning("housekeeping.failed", error=str(error))

    async def _correct(self) -> None:
        if self._revision != (self._world.epoch, self._world.revision):
            # With thousands of containers this is the expensive part, and most of the time nothing has changed.
            self._revision = (self._world.epoch, self._world.revision)
            self._expect()
        if not self._settings.disable_arpsync:
            await self._correct_neighbours()
        if not self._settings.disable_macsync:
            await self._correct_macs()

    def _expect(self) -> None:
        expected = expected_neighbours(self._world)
        if any(mac != self._neighbours.get(address, mac) for address, mac in expected.items()):
            self._rounds = CONTAINER_ROUNDS
        self._neighbours = expected
        self._macs = {
            container.external_id: container.primary_mac_address
            for container in self._world.containers.values()
            if container.host_uuid == self._world.host and container.external_id and container.primary_mac_address
        }

    async def _correct_neighbours(self) -> None:
        expected = self._neighbours
        if not expected:
            return
        corrected = await in_thread(partial(correct_host, expected))
        if self._rounds:
            self._rounds -= 1
            pids = [each.pid for each in self._attached.values()]
            corrected += await in_thread(partial(correct_containers, expected, pids))
        if corrected:
            log.info("neighbours.corrected", entries=corrected)

    async def _correct_macs(self) -> None:
        """Each start of a container is looked at once for each MAC that metadata names."""
        for docker_id, attached in list(self._attached.items()):
            mac = self._macs.get(docker_id)
            look = f"{attached.started_at} {mac}"
            if mac is None or self._macs_checked.get(docker_id) == look:
                continue
            self._macs_checked[docker_id] = look
            if await in_thread(partial(correct_mac, attached.pid, mac)):
                log.info("mac.corrected", container=docker_id[:12], mac=mac)
        self._macs_checked = {each: look for each, look in self._macs_checked.items() if each in self._attached}

    async def _sweep(self) -> None:
        listed = await self._docker.containers()
        if not self._settings.disable_vethsync:
            await in_thread(partial(self._veths.sweep, [each.id for each in listed if each.running]))
        if self._settings.disable_reaper or not self._world.loaded:
            return
        for container in self._reaper.condemned(self._world, listed):
            log.warning("container.reaped", container=container[:12], reason="the environment knows another one")
            await self._docker.remove(container)
        for container in stale_metadata(self._world, listed):
            log.warning("container.stopped", container=container[:12], reason="an older metadata service")
            await self._docker.stop(container)
