"""Volumes at the server's request: created where Docker or a storage driver keeps them, removed with care."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, JsonObject
from drover.host.agent.images import Progress
from drover.host.agent.payload import Instance, Volume, VolumeRequest, text_map
from drover.host.agent.volume_plugins import RANCHER_DRIVERS, VolumePlugin

log = structlog.get_logger(__name__)

REMOVE_TRIES = 3
REMOVE_PAUSE = 1.0
REMEMBER_FAILURE = 300.0
MAX_REMEMBERED = 1000
MOVED = "moved"
DELETABLE_ROOT = Path("/var/lib/rancher/volumes")

RemoveInstanceContainer = Callable[[Instance], Awaitable[None]]


class Volumes:
    """The volumes of one host."""

    def __init__(self, engine: Engine, *, plugin_dir: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._plugin_dir = plugin_dir
        self._now = now
        self._gave_up: OrderedDict[str, float] = OrderedDict()

    async def prepare(self, instance: Instance) -> dict[str, str]:
        """Makes the instance's volumes ready. Returns name -> mount point for those that drivers mount."""
        mounts: dict[str, str] = {}
        for volume in instance.volumes_from_data_volume_mounts or ():
            name, options = volume.name or "", text_map(volume.fields.driver_opts)
            plugin = VolumePlugin.of(volume.driver, self._plugin_dir)
            if plugin is not None and await plugin.is_flex():
                await plugin.create(name, options)
                await plugin.attach(name, options)
                mounts[name] = await plugin.mount(name, options)
                continue
            await self._create_in_docker(name, volume.driver, options)
            if plugin is not None:
                await plugin.attach(name, options)
        return mounts

    async def activate(self, request: VolumeRequest, _: Progress) -> JsonObject:
        volume = request.volume_storage_pool_map.volume
        if _managed(volume):
            name, options = volume.name or "", text_map(volume.fields.driver_opts)
            plugin = VolumePlugin.of(volume.driver, self._plugin_dir)
            if plugin is not None and await plugin.is_flex():
                await plugin.create(name, options)
            else:
                await self._create_in_docker(name, volume.driver, options)
        return _done()

    async def remove(self, request: VolumeRequest, *, remove_root_of: RemoveInstanceContainer) -> JsonObject:
        """Removes a volume. Device 0 is a container's root disk, which goes with the container."""
        volume = request.volume_storage_pool_map.volume
        name = volume.name or ""
        if volume.device_number == 0:
            if volume.instance is not None:
                await remove_root_of(volume.instance)
            return _done()
        if _managed(volume):
            plugin = VolumePlugin.of(volume.driver, self._plugin_dir)
            if plugin is not None and await plugin.is_flex() and not await self._known_to_docker(name):
                await plugin.remove(name)
            else:
                await self._remove_from_docker(str(volume.id), name)
            return _done()
        await asyncio.to_thread(_delete_path, volume)
        return _done()

    async def _create_in_docker(self, name: str, driver: str, options: dict[str, str]) -> None:
        try:
            existing = await self._engine.inspect_volume(name)
        except DockerError as error:
            if error.status != 404:
                raise
        else:
            if existing.get("Mountpoint") != MOVED:
                return
            # The driver says that the volume lives on another host now; only a new entry finds it there.
            await self._engine.remove_volume(name)
        await self._engine.create_volume(name, driver=driver, options=options)

    async def _known_to_docker(self, name: str) -> bool:
        try:
            await self._engine.inspect_volume(name)
        except DockerError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _remove_from_docker(self, key: str, name: str) -> None:
        """Three tries. A volume that still resists is reported once; the next request lets it go."""
        if self._now() < self._gave_up.pop(key, 0.0):
            log.warning("volume.leaked", volume=name, reason="could not be removed at the last request")
            return
        for attempt in range(REMOVE_TRIES):
            try:
                await self._engine.remove_volume(name)
                return
            except DockerError as error:
                if error.status == 404:
                    return
                if "should retry" in error.message.lower():
                    raise
                if attempt == REMOVE_TRIES - 1:
                    self._gave_up[key] = self._now() + REMEMBER_FAILURE
                    while len(self._gave_up) > MAX_REMEMBERED:
                        self._gave_up.popitem(last=False)
                    raise
            await asyncio.sleep(REMOVE_PAUSE)


def _managed(volume: Volume) -> bool:
    """It has a driver, and a name by which that driver knows it."""
    return bool(volume.driver) and bool(volume.driver in RANCHER_DRIVERS or volume.name)


def _done() -> JsonObject:
    return {"volumeStoragePoolMap": {"volume": {"format": "docker"}}}


def _delete_path(volume: Volume) -> None:
    """Deletes the folder of an unmanaged volume, unless it is a path that the user brought.

    Only below the platform's own volume folder: the path comes over the wire, and the agent is root.
    """
    uri = volume.uri or ""
    if volume.fields.is_host_path or not uri.startswith("file://"):
        return
    path = Path(uri.removeprefix("file://"))
    if not path.exists():
        return
    if not path.resolve().is_relative_to(DELETABLE_ROOT):
        log.warning("volume.path.kept", path=str(path), reason=f"not below {DELETABLE_ROOT}")
        return
    log.info("volume.path.deleted", path=str(path))
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
