"""The life of a volume: attached and detached by its mounts, removed on its host."""

from __future__ import annotations

import structlog

from drover.common.clock import now_ms
from drover.server.bus import NoAnswer, Refused
from drover.server.lifecycle import Delegate, Done, Handlers, Outcome, Run
from drover.server.orchestration.agents.channel import AgentChannel, AgentGone
from drover.server.orchestration.context import Context
from drover.server.orchestration.instances.payload import volume_row
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.plain import follow
from drover.server.orchestration.removal import removed
from drover.server.orchestration.retry import later

log = structlog.get_logger(__name__)


class VolumeHandlers:
    """The handlers of ``volume.*``."""

    def __init__(self, context: Context, channel: AgentChannel, hosts: Mirror) -> None:
        self._context = context
        self._channel = channel
        self._hosts = hosts

    def register(self, handlers: Handlers) -> None:
        handlers.register("volume.create", self.create)
        handlers.register("volume.deactivate", follow)
        handlers.register("volume.remove", self.remove)

    async def create(self, run: Run) -> Outcome:
        """A new volume waits for its first mount; ``activate`` in the process data attaches it at once."""
        return Delegate() if run.data.get("activate") else Done()

    async def remove(self, run: Run) -> Outcome:
        """Delete it on its host, unless it was there before us or its host cannot be asked."""
        volume = run.record
        await self._hosts.ready()
        host = self._hosts.get(volume["hostId"])
        if host is not None and not volume["isNative"] and await self._channel.is_reachable(host["agentId"]):
            try:
                await self._channel.call(
                    int(host["agentId"]),
                    "storage.volume.remove",
                    resource_type="volumeStoragePoolMap",
                    resource_id=volume.id,
                    data={"volumeStoragePoolMap": self._map(run)},
                )
            except AgentGone:
                log.debug("volume.remove_without_agent", volume_id=volume.id)
            except (NoAnswer, Refused) as error:
                return later(run, self._context.settings, str(error))
        changes = run.plan()
        gone = {"state": "removed", "removed": now_ms(), "removeTime": now_ms()}
        for mount in await self._context.store.find_by("mount", volumeId=volume.id, removed=None):
            changes.update(mount, gone)
        changes.release_all(volume)
        return Done(removed(self._context.settings, "volume"), changes)

    @staticmethod
    def _map(run: Run) -> dict[str, object]:
        volume = run.record
        pool = {"id": volume["storagePoolId"], "type": "storagePool"}
        return {"id": volume.id, "type": "volumeStoragePoolMap", "volume": volume_row(volume), "storagePool": pool}
