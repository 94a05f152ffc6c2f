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
    """Plan the volumes and mounts that have no row yet."""
    found = list(mounts)
    ids = {path.partition(":")[0]: int(each) for path, each in (instance["dataVolumeMounts"] or {}).items()}
    known = {row["path"]: row for row in await store.find_by("mount", instanceId=instance.id, removed=None)}
    unknown = [each for each in found if each.path not in known]
    if not unknown:
        return
    uris = {each.uri for each in unknown}
    names = [each.name for each in unknown]
    on_host = await store.find_by(
        "volume", accountId=instance["accountId"], hostId=instance["hostId"], name=names, removed=None
    )
    by_uri = {str(row["uri"]): row.id for row in on_host if str(row["uri"]) in uris}
    await store.ensure_ids("volume", len(unknown))
    await store.ensure_ids("mount", len(unknown))
    for each in unknown:
        volume_id = ids.get(each.path) or by_uri.get(each.uri)
        if volume_id is None:
            volume_id = by_uri[each.uri] = _plan_volume(changes, instance, each).id
        elif each.path in ids:
            _mark_used(changes, instance, volume_id, each)
        _plan_mount(changes, instance, volume_id, each)


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


def _mark_used(changes: Changes, instance: Record, volume_id: int, mounted: Mounted) -> None:
    """A volume that had a row before it was ever mounted: it is in use, and we know where."""
    values: dict[str, Any] = {"state": "active", "uri": mounted.uri, "allocationState": "active"}
    if mounted.driver in _LOCAL:
        values["hostId"] = instance["hostId"]
    changes.update(Record("volume", volume_id, {}), values)


def _plan_mount(changes: Changes, instance: Record, volume_id: int, mounted: Mounted) -> None:
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
            "path": mounted.path,
            "permissions": "rw" if mounted.writable else "ro",
        },
    )
