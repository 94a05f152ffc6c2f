"""Processes of rows that are all there is of a thing: nothing outside the database has to happen for them."""

from __future__ import annotations

from drover.common.clock import now_ms
from drover.server.lifecycle import Chain, Delegate, Done, Handlers, Outcome, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.removal import removed

ACTIVATED = ("storagepool", "subnet", "port", "ipaddress", "image")
"""Types that go from created to active without further ado, and back."""

_CREATED_ONLY = ("mount", "label", "containerevent")


class PlainHandlers:
    """Creation goes on to activation, deactivation to what was asked to follow, removal gives back every key."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register(self, handlers: Handlers) -> None:
        for name in ACTIVATED:
            handlers.register(f"{name}.create", self.create)
            handlers.register(f"{name}.deactivate", follow)
        for name in (*ACTIVATED, *_CREATED_ONLY, "physicalhost"):
            handlers.register(f"{name}.remove", self.remove)
        handlers.register("mount.deactivate", follow)
        handlers.register("instance.updatehealthy", note_health)
        handlers.register("instance.updateunhealthy", note_health)
        handlers.register("instance.updatereinitializing", note_health)

    async def create(self, run: Run) -> Outcome:
        return Delegate()

    async def remove(self, run: Run) -> Outcome:
        changes = run.plan()
        changes.release_all(run.record)
        return Done(removed(self._context.settings, run.record.type), changes)


async def follow(run: Run) -> Outcome:
    """Done, and on to the process that was asked to follow, such as the removal after a deactivation."""
    successor = run.data.get("chainTo")
    if successor and successor != run.process.name:
        return Chain(str(successor), data={"chainTo": None})
    return Done()


async def note_health(run: Run) -> Outcome:
    """Time-outs of health states count from their last change."""
    return Done({"healthUpdated": now_ms()})
