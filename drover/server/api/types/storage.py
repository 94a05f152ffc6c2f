"""Volumes, their templates, and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.draft import Draft
from drover.server.api.errors import ApiError, invalid
from drover.server.api.extensions import Extensions, Prepared
from drover.server.api.types.names import check_name_free
from drover.server.api.writing import create_row
from drover.server.store import Record


def register(extensions: Extensions) -> None:
    extensions.rule("volume")(check_volume)
    extensions.rule("volumeTemplate")(check_volume_template)
    extensions.computes("volume")(compute_volume)
    extensions.computes("storagePool")(compute_storage_pool)
    extensions.action("snapshot", "volume")(snapshot)
    extensions.action("backup", "snapshot")(backup)
    extensions.prepares("remove", "snapshot")(before_snapshot_removal)


async def check_volume(draft: Draft) -> None:
    """A volume has a driver, and a name that is free for this driver in the environment."""
    if draft.creating:
        driver_id = draft.get("storageDriverId")
        if not draft.get("driver") and driver_id is None:
            raise invalid("MissingRequired", "driver", "A volume needs a driver, such as local; see /storagedrivers")
        if not draft.get("driver") and driver_id is not None:
            driver = await draft.call.store.get("storageDriver", int(driver_id))
            draft.values["driver"] = None if driver is None else driver.name
    if draft.values.get("sizeMb") is not None and draft.values["sizeMb"] < 0:
        raise invalid("MinLimitExceeded", "sizeMb", "sizeMb may not be negative")
    await check_name_free(draft, accountId=draft.get("accountId"), hostId=draft.get("hostId"))


async def check_volume_template(draft: Draft) -> None:
    await check_name_free(draft, stackId=draft.get("stackId"))


async def compute_volume(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``mounts`` of all volumes of a page in one statement."""
    if call.version == "v1":
        return {}
    found: dict[int, dict[str, Any]] = {record.id: {"mounts": []} for record in records}
    for mount in await call.store.find_by("mount", volumeId=list(found), removed=None):
        found[mount["volumeId"]]["mounts"].append(
            {
                "instanceId": mount["instanceId"],
                "volumeId": mount["volumeId"],
                "path": mount["path"],
                "permission": mount["permissions"],
            }
        )
    return found


async def compute_storage_pool(call: Call, records: Sequence[Record]) -> dict[int, dict[str, Any]]:
    """``hostIds`` and ``volumeIds`` of all pools of a page in one statement."""
    if call.version == "v1":
        return {}
    found: dict[int, dict[str, Any]] = {
        record.id: {"hostIds": [] if record["hostId"] is None else [record["hostId"]], "volumeIds": []}
        for record in records
    }
    for volume in await call.store.find_by("volume", storagePoolId=list(found), removed=None):
        found[volume["storagePoolId"]]["volumeIds"].append(volume.id)
    return found


async def snapshot(call: Call, record: Record, given: dict[str, Any]) -> Record:
    """A new snapshot of the volume."""
    values = {"name": given.get("name"), "volumeId": record.id, "accountId": record.account_id}
    return await create_row(call, "snapshot", values)


async def backup(call: Call, record: Record, given: dict[str, Any]) -> Record:
    """A new backup of the snapshot, on the target that the request names."""
    target_id = given.get("backupTargetId")
    if target_id is None:
        raise invalid("MissingRequired", "backupTargetId", "Say where to keep the backup: give a backupTargetId")
    values = {
        "name": given.get("name"),
        "snapshotId": record.id,
        "volumeId": record["volumeId"],
        "backupTargetId": target_id,
        "accountId": record.account_id,
    }
    return await create_row(call, "backup", values)


async def before_snapshot_removal(call: Call, record: Record, _given: dict[str, Any]) -> Prepared:
    """The newest snapshot of a volume is what the volume goes on from, and stays."""
    siblings = await call.store.find_by("snapshot", volumeId=record["volumeId"], removed=None)
    if record["volumeId"] is not None and len(siblings) > 1 and max(each.id for each in siblings) == record.id:
        raise ApiError(
            400, "InvalidState", "The newest snapshot of a volume cannot be removed; remove older ones first"
        )
    return Prepared()
