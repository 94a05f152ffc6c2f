"""The volumes that a container turned out to mount, as rows. Source: how Rancher 1.6 reads Docker's inspect.

Docker's list of mounts tells more than the container's definition: anonymous volumes of the image, and the names that
Docker gave them. Every one becomes a volume of its host with a mount; volumes of drivers that are known by row keep it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drover.common.clock import now_ms
from drover.server.store import Changes, Record, Store

_MANAGED_PATH = "/var/lib/rancher/volumes/"
_IGNORED = frozenset({"rancher-cni"})
_LOCAL = ("", "local")
_UNUSED = ("inactive", "detached")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One mount of a running container. ``driver`` is empty for a directory of the host."""

    name: str
    driver: str
    path: str
    uri: str
    writable: bool
    is_host_path: bool


def read_mounts(mounts: Iterable[Mapping[str, Any]]) -> list[Mounted]:
    """Docker's mounts, without those that belong to the platform itself."""
    found = [_read(each) for each in mounts if each.get("Destination")]
    return [each for each in found if each.name not in _IGNORED]


def _read(each: Mapping[str, Any]) -> Mounted:
    source = str(each.get("Source") or "")
    name, driver = str(each.get("Name") or ""), str(each.get("Driver") or "")
    bind = each.get("Type") == "bind" or not name
    if source.startswith(_MANAGED_PATH):
        driver, _, name = source.removeprefix(_MANAGED_PATH).rpartition("/")
        bind = False
    name = name or source
    uri = f"file://{source}" if bind or driver in _LOCAL else f"{driver}://{source}"
    writable = bool(each.get("RW", True))
    return Mounted(name, "" if bind else driver, str(each["Destination"]), uri, writable, is_host_path=bind)


async def plan_rows(store: Store, changes: Changes, instance: Record, mounts: Iterable[Mounted]) -> None:
    """Plan the volumes and mounts that have no row yet: what was reported, and what the container was to mount."""
    wanted = {path.partition(":")[0]: int(each) for path, each in (instance["dataVolumeMounts"] or {}).items()}
    volumes = await store.get_many("volume", list(wanted.values())) if wanted else {}
    known = {row["path"] for row in await store.find_by("mount", instanceId=instance.id, removed=None)}
    unknown = {each.path: each for each in mounts if each.path not in known}
    by_uri = await _known_volumes(store, instance, [each for path, each in unknown.items() if path not in wanted])
    await store.ensure_ids("volume", len(unknown))
    await store.ensure_ids("mount", len(unknown) + len(wanted))
    for path, volume_id in wanted.items():
        volume = volumes.get(volume_id)
        if volume is None or path in known:
            continue
        reported = unknown.pop(path, None)
        _plan_use(changes, instance, volume, reported)
        _plan_mount(changes, instance, volume_id, path, writable=reported is None or reported.writable)
    for path, each in unknown.items():
        if each.uri not in by_uri:
            by_uri[each.uri] = _plan_volume(changes, instance, each).id
        _plan_mount(changes, instance, by_uri[each.uri], path, writable=each.writable)


async def _known_volumes(store: Store, instance: Record, mounts: list[Mounted]) -> dict[str, int]:
    """The host's volumes that are mounted, by uri."""
    if not mounts:
        return {}
    names = [each.name for each in mounts]
    found = await store.find_by("volume", hostId=instance["hostId"], name=names, removed=None)
    uris = {each.uri for each in mounts}
    return {str(row["uri"]): row.id for row in found if row["uri"] in uris and row.account_id == instance.account_id}


def _plan_volume(changes: Changes, instance: Record, mounted: Mounted) -> Record:
    return changes.insert(
        "volume",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "volume",
            "state": "active",
            "created": now_ms(),
            "accountId": instance["accountId"],
            "hostId": instance["hostId"],
            "name": mounted.name,
            "driver": mounted.driver or None,
            "uri": mounted.uri,
            "deviceNumber": -1,
            "allocationState": "active",
            "attachedState": "inactive",
            "isHostPath": mounted.is_host_path,
            "isNative": bool(instance["nativeContainer"]),
        },
    )


def _plan_use(changes: Changes, instance: Record, volume: Record, reported: Mounted | None) -> None:
    """A volume that had a row before it was mounted: it is in use now, a local one on this host."""
    if volume.state not in _UNUSED:
        return
    values: dict[str, Any] = {"state": "active", "allocationState": "active"}
    if reported is not None:
        values["uri"] = reported.uri
    if str(volume["driver"] or "") in _LOCAL:
        values["hostId"] = instance["hostId"]
    changes.guard(volume, state=volume.state)
    changes.update(volume, values)


def _plan_mount(changes: Changes, instance: Record, volume_id: int, path: str, *, writable: bool) -> None:
    changes.insert(
        "mount",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "mount",
            "state": "active",
            "created": now_ms(),
            "accountId": instance["accountId"],
            "instanceId": instance.id,
            "volumeId": volume_id,
            "path": path,
            "permissions": "rw" if writable else "ro",
        },
    )
