"""Where the volumes of a container allow it to run."""

from __future__ import annotations

from collections.abc import Iterable

from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record, Store

Limit = tuple[frozenset[int], str]

_LOCAL = frozenset({"", "local"})
_SINGLE_HOST = "singleHostRW"
_SINGLE_INSTANCE = "singleInstanceRW"
_IDLE = frozenset({"stopped", "error", "removing", "removed", "purged"})
_LIVE_MOUNTS = ("active", "activating", "requested")


class VolumeInUse(Exception):
    """A volume that only one container may mount is mounted; the text is for the user."""


class VolumePlaces:
    """Reads the limits that volumes set. Containers without managed volumes cost nothing."""

    def __init__(self, store: Store, hosts: Mirror) -> None:
        self._store = store
        self._hosts = hosts

    async def limits(self, instance: Record) -> tuple[Limit, ...]:
        """The hosts each volume can be used on, with the reason to show. Raises VolumeInUse."""
        mounts = instance["dataVolumeMounts"]
        if not mounts:
            return ()
        await self._hosts.ready()
        volumes = (await self._store.get_many("volume", [int(each) for each in mounts.values()])).values()
        pools = await self._store.get_many("storagePool", [v["storagePoolId"] for v in volumes if v["storagePoolId"]])
        found: list[Limit] = []
        for volume in volumes:
            if volume["hostId"] is not None and str(volume["driver"] or "") in _LOCAL:
                found.append(self._on(volume, [int(volume["hostId"])]))
            elif volume["storagePoolId"] in pools:
                pool = pools[volume["storagePoolId"]]
                found.append(self._on(volume, [int(each) for each in pool["hostIds"] or [pool["hostId"]] if each]))
            if volume["accessMode"] in (_SINGLE_HOST, _SINGLE_INSTANCE):
                found.extend(await self._in_use(instance, volume))
        return tuple(found)

    def _on(self, volume: Record, ids: Iterable[int]) -> Limit:
        hosts = frozenset(ids)
        names = ", ".join(self._name(each) for each in sorted(hosts)) or "no host"
        return hosts, f"Volume {volume.name}(id: {volume.id}) can only be used on host {names}"

    def _name(self, host_id: int) -> str:
        host = self._hosts.get(host_id)
        return str(host_id) if host is None else str(host.name or host["hostname"] or host_id)

    async def _in_use(self, instance: Record, volume: Record) -> list[Limit]:
        mounts = await self._store.find_by("mount", volumeId=volume.id, removed=None, state=_LIVE_MOUNTS)
        others = [int(each["instanceId"]) for each in mounts if each["instanceId"] not in (None, instance.id)]
        found = (await self._store.get_many("instance", others)).values()
        users = [each for each in found if each["hostId"] is not None and each.state not in _IDLE]
        if not users:
            return []
        if volume["accessMode"] == _SINGLE_INSTANCE:
            names = ", ".join(str(each.name or each.id) for each in users)
            raise VolumeInUse(
                f"Volume {volume.name}(id: {volume.id}) has access mode {_SINGLE_INSTANCE} and is currently mounted "
                f"by {names}; remove that container first."
            )
        return [self._on(volume, {int(each["hostId"]) for each in users})]
