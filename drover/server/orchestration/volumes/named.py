"""The volumes a new container mounts by name. Source: the rules of Rancher 1.6 for ``dataVolumes``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drover.common.clock import now_ms
from drover.server.store import Changes, Record, Store

BY_NAME_LABEL = "io.rancher.scheduler.affinity:volumes"
_LOCAL_DRIVERS = frozenset({"", "local"})
_LOCAL_POOLS = frozenset({"docker", "sim"})


class AmbiguousVolume(Exception):
    """A name that several volumes have; the text is for the user."""


@dataclass(slots=True)
class VolumeWishes:
    """What was found: the container's ``dataVolumes`` and ``dataVolumeMounts``, and the volumes to mount by id."""

    data_volumes: list[str] = field(default_factory=list)
    mounts: dict[str, int] = field(default_factory=dict)


def needs_lookup(instance: Mapping[str, Any]) -> bool:
    """Whether the container mounts anything that is, or may become, a volume with a row."""
    if instance.get("dataVolumeMounts"):
        return True
    managed = str(instance.get("volumeDriver") or "") not in _LOCAL_DRIVERS
    return any(managed or _is_named(str(each)) for each in instance.get("dataVolumes") or ())


async def resolve(store: Store, changes: Changes, instance: Record) -> VolumeWishes:
    """Find or plan the named volumes of a container. Raises AmbiguousVolume."""
    driver = str(instance["volumeDriver"] or "")
    managed = driver not in _LOCAL_DRIVERS
    wishes = VolumeWishes(mounts={path: int(volume) for path, volume in (instance["dataVolumeMounts"] or {}).items()})
    by_name = {each.strip() for each in str((instance["labels"] or {}).get(BY_NAME_LABEL) or "").split(",")}
    for entry in instance["dataVolumes"] or ():
        text = str(entry)
        if managed and _is_anonymous(text):
            text = f"{uuid.uuid4()}:{text}"
        wishes.data_volumes.append(text)
        if not _is_named(text):
            continue
        name, _, path = text.partition(":")
        volume_id = await _find(store, instance, name, any_pool=name in by_name)
        if volume_id is None and managed:
            volume_id = await _create(store, changes, instance, name, driver)
        if volume_id is not None:
            wishes.mounts.setdefault(path, volume_id)
    await _add_mounted(store, wishes)
    return wishes


async def _find(store: Store, instance: Record, name: str, *, any_pool: bool) -> int | None:
    found = await store.find_by("volume", accountId=instance["accountId"], name=name, removed=None)
    if not any_pool and found:
        pools = await store.get_many("storagePool", [each["storagePoolId"] for each in found if each["storagePoolId"]])
        local = {pool.id for pool in pools.values() if pool.kind in _LOCAL_POOLS}
        found = [each for each in found if each["storagePoolId"] not in local and not _was_reported(each)]
    if len(found) > 1:
        raise AmbiguousVolume(
            f"Could not process named volume {name}. More than one volume with that name exists. "
            "Remove or rename all but one."
        )
    return found[0].id if found else None


async def _create(store: Store, changes: Changes, instance: Record, name: str, driver: str) -> int:
    known = await store.first("storageDriver", accountId=instance["accountId"], name=driver, removed=None)
    volume = changes.insert(
        "volume",
        {
            "uuid": str(uuid.uuid4()),
            "kind": "volume",
            "state": "inactive",
            "created": now_ms(),
            "accountId": instance["accountId"],
            "name": name,
            "driver": driver,
            "storageDriverId": None if known is None else known.id,
            "deviceNumber": -1,
            "allocationState": "inactive",
        },
    )
    return volume.id


async def _add_mounted(store: Store, wishes: VolumeWishes) -> None:
    """Volumes given by id appear in ``dataVolumes`` by their name, as Docker wants them."""
    mounted = set(wishes.data_volumes)
    missing = [each for path, each in wishes.mounts.items() if not any(v.endswith(f":{path}") for v in mounted)]
    volumes = await store.get_many("volume", missing) if missing else {}
    for path, volume_id in wishes.mounts.items():
        volume = volumes.get(volume_id)
        if volume is not None:
            wishes.data_volumes.append(f"{volume.name}:{path}")


def _was_reported(volume: Record) -> bool:
    """A local volume that a host told of (only such rows know whether they are attached): other hosts may have one of
    the same name, and Docker makes it where it is missing."""
    return str(volume["driver"] or "") in _LOCAL_DRIVERS and volume["attachedState"] is not None


def _is_named(entry: str) -> bool:
    name, colon, path = entry.partition(":")
    return bool(colon) and path.startswith("/") and "/" not in name and bool(name)


def _is_anonymous(entry: str) -> bool:
    path, _, second = entry.partition(":")
    return path.startswith("/") and not second.startswith("/")
