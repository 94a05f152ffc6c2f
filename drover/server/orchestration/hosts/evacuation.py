"""External host events: somebody asks to empty a host, or says that its labels matter anew."""

from __future__ import annotations

import structlog

from drover.placement import Affinity, Subject
from drover.placement.host import Host
from drover.server.lifecycle import Again, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.hosts.handlers import HostHandlers
from drover.server.orchestration.mirror import Mirror
from drover.server.store import Record, StoreError

log = structlog.get_logger(__name__)

EVACUATE = "host.evacuate"


class HostEvents:
    """Handles ``externalHostEvent``; other kinds of external events are left to whoever registers for them."""

    def __init__(self, context: Context, hosts: Mirror, host_handlers: HostHandlers) -> None:
        self._context = context
        self._hosts = hosts
        self._handlers = host_handlers

    async def __call__(self, run: Run) -> Outcome | None:
        event = run.record
        if event.kind != "externalHostEvent" or event["eventType"] != EVACUATE:
            return None
        await self._hosts.ready()
        left = 0
        for host in self._chosen(event):
            left += await self._evacuate(host, delete=bool(event["deleteHost"]))
        return Again(1.0, f"Waiting for {left} containers to be removed") if left else None

    def _chosen(self, event: Record) -> list[Record]:
        """One host by id, or all that carry a label (``key=value``), of the environment of the event."""
        hosts = [host for host in self._hosts if host["accountId"] == event["accountId"]]
        if event["hostId"] is not None:
            return [host for host in hosts if host.id == int(event["hostId"])]
        key, equals, value = str(event["hostLabel"] or "").lower().partition("=")
        if not equals:
            return []
        wish = Affinity(Subject.HOST_LABEL, key.strip(), value.strip(), wanted=True, hard=True)
        return [host for host in hosts if wish.objection(_labelled(host)) is None]

    async def _evacuate(self, host: Record, *, delete: bool) -> int:
        """Out of service first, so that nothing comes back to it; returns how many containers are still there."""
        await self._schedule("host.deactivate", host)
        left = await self._handlers.evacuate(host)
        if not left and delete:
            current = await self._context.watch.until(
                "host", host.id, lambda row: row is None or row.state != "deactivating", timeout=10
            )
            if current is not None:
                await self._schedule("host.remove", current)
        return left

    async def _schedule(self, process: str, host: Record) -> None:
        changes = self._context.store.changes()
        try:
            self._context.engine.schedule(changes, process, host)
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as refused:
            log.info("host.event_not_applied", process=process, host_id=host.id, reason=str(refused))


def register(handlers: Handlers, events: HostEvents) -> None:
    handlers.register("externalevent.create", events)


def _labelled(host: Record) -> Host:
    seen = Host(host.id)
    seen.describe(labels=host["labels"])
    return seen
