"""What happens to a container's volumes when it is removed. Source: the clean-up strategies of Rancher 1.6."""

from __future__ import annotations

import re

from drover.common.clock import now_ms
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.labels import CLEANUP_STRATEGY
from drover.server.store import Changes, Record

_LIVE_MOUNTS = ("active", "activating", "requested")
_ANONYMOUS = re.compile(r"[0-9a-zA-Z]{64}\Z")


class VolumeCleanup:
    """Ends the mounts of a removed container and, by its label, the volumes that nobody else mounts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def plan(self, changes: Changes, instance: Record) -> None:
        """Plan it. Costs nothing for a container that mounts no volume with a row."""
        if not instance["dataVolumeMounts"] and not (instance["data"] or {}).get("dockerMounts"):
            return
        store = self._context.store
        strategy = str((instance["labels"] or {}).get(CLEANUP_STRATEGY) or "unnamed")
        mounts = await store.find_by("mount", instanceId=instance.id, removed=None)
        gone = {"state": "removed", "removed": now_ms(), "removeTime": now_ms()}
        for mount in mounts:
            changes.update(mount, gone)
        ids = [int(mount["volumeId"]) for mount in mounts if mount["volumeId"] is not None]
        if not ids:
            return
        others = await store.find_by("mount", volumeId=ids, removed=None, state=_LIVE_MOUNTS)
        shared = {int(mount["volumeId"]) for mount in others if mount["instanceId"] != instance.id}
        for volume in (await store.get_many("volume", ids)).values():
            if volume.id in shared or volume["removed"] is not None:
                continue
            if _is_removed(strategy, volume):
                self._plan_removal(changes, volume)
            elif self._context.engine.can_schedule("volume.deactivate", volume):
                self._context.engine.schedule(changes, "volume.deactivate", volume)

    def _plan_removal(self, changes: Changes, volume: Record) -> None:
        """An active volume is detached first; the removal that follows tells the host."""
        engine = self._context.engine
        if engine.can_schedule("volume.remove", volume):
            engine.schedule(changes, "volume.remove", volume)
        elif engine.can_schedule("volume.deactivate", volume):
            engine.schedule(changes, "volume.deactivate", volume, {"chainTo": "volume.remove"})


def _is_removed(strategy: str, volume: Record) -> bool:
    name = volume.name or ""
    if strategy == "all":
        return True
    return strategy == "unnamed" and (bool(_ANONYMOUS.match(name)) or name.startswith("/"))
