"""Brings the infrastructure stacks of an environment to the templates and the image of this server, in place.

One stack at a time, the ones that others need first, each with the services' own rolling upgrade: what holds a network
is the same before and after, so only the programs in it are exchanged. A stack whose upgrade fails is rolled back, and
the reason is shown on the environment. Nothing is remembered but the rows, so an interrupted upgrade goes on.
"""

from __future__ import annotations

from typing import Any

import structlog

from drover.server.lifecycle import Done, Handlers, Outcome, ProcessConflict, Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.deployment import IMAGE, variables
from drover.server.orchestration.infrastructure.library import template_of
from drover.server.store import Condition, Query, Record, StoreError

log = structlog.get_logger(__name__)

_MODE = "upgrade.manager"
_AUTOMATIC = frozenset({"all", "true"})
_ORDER = ("network-services",)
_STACK_SECONDS = 600.0
_HOST_SECONDS = 10.0  # a service of every host is exchanged two hosts at a time
_STEPS = 20
_AT_REST = frozenset({"active", "upgraded", "canceled-upgrade", "error"})
_SYSTEM = Condition("system", "eq", True)
_LIVING = Condition("removed", "null")


class UpgradeFailed(Exception):
    """A stack could not be upgraded; the text says which and why."""


class Upgrades:
    """The process ``account.upgrade``, and who starts it by himself."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def register(self, handlers: Handlers) -> None:
        handlers.register("account.upgrade", self.upgrade)

    async def begin(self) -> None:
        """Called when the server starts: upgrade by itself if the settings say so, else tell what could be upgraded."""
        automatic = self._context.settings.get(_MODE).strip().lower() in _AUTOMATIC
        by_project: dict[int, list[str]] = {}
        for stack in await self._outdated(Query("stack", (_SYSTEM, _LIVING))):
            if stack.account_id is not None:
                by_project.setdefault(stack.account_id, []).append(str(stack.name))
        for project_id, names in by_project.items():
            if automatic:
                await self._schedule_on(project_id)
            else:
                fix = f"drover env upgrade 1a{project_id}, or the setting {_MODE}=all"
                log.info("infrastructure.upgrade_available", account_id=project_id, stacks=names, do=fix)

    async def _schedule_on(self, project_id: int) -> None:
        project = await self._context.store.get("account", project_id)
        if project is None:
            return
        changes = self._context.store.changes()
        try:
            self._context.engine.schedule(changes, "account.upgrade", project)
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as busy:
            log.info("infrastructure.upgrade_postponed", account_id=project_id, reason=str(busy))

    async def upgrade(self, run: Run) -> Outcome:
        """Every outdated stack of the environment, one after the other."""
        conditions = (_SYSTEM, _LIVING, Condition("accountId", "eq", run.record.id))
        failures: list[str] = []
        for stack in sorted(await self._outdated(Query("stack", conditions)), key=_importance):
            await run.progress(f"Upgrading the stack {stack.name}")
            try:
                await self._upgrade_stack(stack)
            except (UpgradeFailed, TimeoutError) as error:
                log.warning("infrastructure.upgrade_failed", stack_id=stack.id, reason=str(error))
                failures.append(str(error) or f"the upgrade of {stack.name} took too long")
        if failures:
            return Done({"transitioning": "error", "transitioningMessage": "; ".join(failures)})
        return Done({"transitioning": None, "transitioningMessage": None})

    async def _outdated(self, query: Query) -> list[Record]:
        return [stack for stack in await self._context.store.find(query) if self._is_outdated(stack)]

    def _is_outdated(self, stack: Record) -> bool:
        template = template_of(stack["externalId"])
        present = stack["environment"] or {}
        if template is None or IMAGE not in present:  # the same ids exist in the catalogs of Rancher
            return False
        wanted = variables(self._context, present)
        under_way = stack.state in ("upgrading", "upgraded", "finishing-upgrade")
        return (
            under_way
            or stack["externalId"] != template.external_id
            or any(present.get(name) != value for name, value in wanted.items())
        )

    async def _upgrade_stack(self, stack: Record) -> None:
        """Walk the stack through upgrade and its end; from wherever it stands, as a repeated run finds it anywhere."""
        for _ in range(_STEPS):
            stack = await self._settled(stack)
            if stack["removed"] is not None or (stack.state == "active" and not self._is_outdated(stack)):
                return
            if stack.state == "active":
                await self._begin(stack)
            elif stack.state == "upgraded" and stack["transitioning"] == "error":
                reason = stack["transitioningMessage"]
                await self._schedule("stack.rollback", stack)
                await self._settled(stack)
                raise UpgradeFailed(f"the upgrade of {stack.name} failed and was taken back: {reason}")
            elif stack.state == "upgraded":
                await self._schedule("stack.finishupgrade", stack)
            else:
                raise UpgradeFailed(f"the stack {stack.name} is {stack.state}; bring it to active and upgrade again")
        raise UpgradeFailed(f"the stack {stack.name} does not settle")

    async def _begin(self, stack: Record) -> None:
        template = template_of(stack["externalId"])
        assert template is not None, "only stacks with a template are outdated"
        before = stack["environment"] or {}
        values = {"previousExternalId": stack["externalId"], "previousEnvironment": before}
        data = {
            "externalId": template.external_id,
            "dockerCompose": template.docker_compose,
            "rancherCompose": template.rancher_compose,
            "environment": {**before, **variables(self._context, before)},
        }
        await self._schedule("stack.upgrade", stack, values, data)

    async def _schedule(
        self, process: str, stack: Record, values: dict[str, Any] | None = None, data: dict[str, Any] | None = None
    ) -> None:
        """Somebody else may have moved the stack on meanwhile; the next look at it tells."""
        changes = self._context.store.changes()
        try:
            planned = self._context.engine.schedule(changes, process, stack, data)
            if values:
                changes.update(planned, values)
            await self._context.store.commit(changes)
        except (ProcessConflict, StoreError) as busy:
            log.info("infrastructure.stack_busy", stack_id=stack.id, reason=str(busy))

    async def _settled(self, stack: Record) -> Record:
        def at_rest(row: Record | None) -> bool:
            return row is None or row["removed"] is not None or row.state in _AT_REST

        hosts = await self._context.store.count(
            Query("host", (Condition("accountId", "eq", stack.account_id), _LIVING))
        )
        limit = _STACK_SECONDS + hosts * _HOST_SECONDS
        found = await self._context.watch.until("stack", stack.id, at_rest, timeout=limit)
        if found is None:
            raise UpgradeFailed(f"the stack {stack.name} is gone")
        return found


def _importance(stack: Record) -> tuple[int, int]:
    """What other stacks rely on comes first, the others in the order they were made."""
    template = template_of(stack["externalId"])
    first = template is not None and template.name in _ORDER
    return (0 if first else 1, stack.id)
