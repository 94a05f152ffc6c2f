"""The processes of people and environments, and of the keys and memberships that belong to them.

Removing an account takes everything along that could outlive it: keys, passwords, sessions and memberships in the
same commit, and for an environment first everything that runs in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drover.common.clock import now_ms
from drover.server.lifecycle import Again, Chain, Delegate, Done, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.resources import catalog
from drover.server.store import Changes, Record, StoreError

ProjectHook = Callable[[Changes, Record], object]

# What an environment contains, the users of a thing before the thing.
_CONTENTS = (
    "scheduledUpgrade",
    "stack",
    "service",
    "instance",
    "volumeTemplate",
    "volume",
    "host",
    "physicalHost",
    "agent",
    "certificate",
    "secret",
    "genericObject",
    "userPreference",
    "hostTemplate",
    "storagePool",
    "subnet",
    "network",
)
_LOOK_AGAIN_SECONDS = 0.5
_STEPS_TO_REMOVAL = ("remove", "deactivate", "stop")

# Resources whose row is all there is of them: their processes only change the state.
_PLAIN_TYPES = ("credential", "projectMember", "userPreference")
_REMOVED_WITHOUT_WORK = ("projectTemplate", "certificate", "secret")


class AccountHandlers:
    """The handlers of accounts, credentials, memberships, preferences, certificates and secrets.

    ``project_hooks`` plan what every environment has from its first day, such as its networks.
    """

    def __init__(self, context: Context, project_hooks: Sequence[ProjectHook] = ()) -> None:
        self._context = context
        self._project_hooks = tuple(project_hooks)

    def register(self, handlers: Handlers) -> None:
        handlers.register("account.create", self.create)
        handlers.register("account.deactivate", go_on)
        handlers.register("account.remove", self.remove)
        for name in _PLAIN_TYPES:
            process = name.lower()
            handlers.register(f"{process}.create", activate)
            handlers.register(f"{process}.remove", removed)
        handlers.register("credential.deactivate", go_on)
        handlers.register("projectmember.deactivate", go_on)
        for name in _REMOVED_WITHOUT_WORK:
            handlers.register(f"{name.lower()}.remove", removed)

    async def create(self, run: Run) -> Outcome:
        changes = run.plan()
        if run.record.kind == "project" and run.record["defaultNetworkId"] is None:
            for hook in self._project_hooks:
                hook(changes, run.record)
        return Delegate(changes=changes)

    async def remove(self, run: Run) -> Outcome:
        if run.record.kind == "project":
            left = await self._empty(run.record)
            if left:
                return Again(_LOOK_AGAIN_SECONDS, f"Removing what is left in the environment: {left} resources")
        changes = run.plan()
        await self._plan_rights_end(changes, run.record)
        return Done({"removed": now_ms(), "removeTime": now_ms()}, changes)

    async def _empty(self, project: Record) -> int:
        """Start the removal of everything in an environment; returns how much of it is still there."""
        left = 0
        for type_name in _CONTENTS:
            if type_name not in self._context.store.types:
                continue
            for record in await self._context.store.find_by(type_name, accountId=project.id, removed=None):
                left += not await self._remove(record)
        return left

    async def _remove(self, record: Record) -> bool:
        """One step towards removal. True when the row is gone with it, because the type has no process."""
        changes = self._context.store.changes()
        processes = catalog().processes
        names = [f"{record.type.lower()}.{step}" for step in _STEPS_TO_REMOVAL]
        if names[0] not in processes:
            changes.update(record, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
            changes.release_all(record)
            return await self._committed(changes)
        for name in names:
            if name not in processes or not self._context.engine.can_schedule(name, record):
                continue
            try:
                self._context.engine.schedule(changes, name, record, {"chainTo": names[0]})
            except ProcessConflict:
                return False
            await self._committed(changes)
            return False
        return False

    async def _committed(self, changes: Changes) -> bool:
        try:
            await self._context.store.commit(changes)
        except StoreError:
            return False  # somebody else moved it on; the next look sees how it stands
        return True

    async def _plan_rights_end(self, changes: Changes, account: Record) -> None:
        store = self._context.store
        for credential in await store.find_by("credential", accountId=account.id, removed=None):
            plan_removal(changes, credential)
        for session in await store.find_by("authToken", accountId=account.id):
            changes.delete(session)
        if account.kind == "project":
            memberships = await store.find_by("projectMember", projectId=account.id, removed=None)
        else:
            memberships = await store.find_by(
                "projectMember", externalId=str(account.id), externalIdType="rancher_id", removed=None
            )
        for membership in memberships:
            plan_removal(changes, membership)


def plan_removal(changes: Changes, record: Record) -> None:
    """Remove a row for which nothing outside the database has to happen."""
    changes.update(record, {"state": "removed", "removed": now_ms(), "removeTime": now_ms()})
    changes.release_all(record)


async def activate(run: Run) -> Outcome:
    return Delegate()


async def go_on(run: Run) -> Outcome:
    """Being deactivated may be the first half of being removed."""
    following = run.data.get("chainTo")
    return Chain(str(following)) if following else Done()


async def removed(run: Run) -> Outcome:
    changes = run.plan()
    changes.release_all(run.record)
    return Done({"removed": now_ms(), "removeTime": now_ms()}, changes)
