"""Gives environments the stacks of their template: each once, in the order of the template, finished after a crash.

All stacks of an environment are planned in one commit together with their list on it, so they exist completely or not
at all. A stack whose services have been made is started; which ones were is remembered on the environment, so what a
user stops later stays stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from drover.server.orchestration.context import Context
from drover.server.orchestration.infrastructure.deployment import plan_custom_stack, plan_stack
from drover.server.orchestration.infrastructure.library import stack_templates
from drover.server.orchestration.networks.resolve import awaits_stacks
from drover.server.orchestration.services.stacks import activate_services
from drover.server.store import Changes, Record, StoreError, Touched

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0
_READY = frozenset({"active", "updating-active"})
_MADE = frozenset({"active", "upgraded"})
_LOST = frozenset({"error", "erroring", "removing", "removed", "purging", "purged"})


class Installer:
    """Works through environments that are not complete yet; idle otherwise."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._due: set[int] = set()
        self._awaited: dict[int, int] = {}  # stack that is being made -> its environment
        self._wake = asyncio.Event()
        context.store.listen(self._hear)

    async def run(self) -> None:
        """Work until cancelled."""
        for project in await self._context.store.find_by("account", kind="project", removed=None):
            if _incomplete(project):
                self._due.add(project.id)
        while True:
            if not self._due:
                self._wake.clear()
                await self._wake.wait()
            project_id = self._due.pop()
            try:
                await self._complete(project_id)
            except StoreError as lost:
                log.info("infrastructure.lost_race", account_id=project_id, reason=str(lost))
                self._due.add(project_id)
                await asyncio.sleep(_RETRY_SECONDS)

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type == "account" and row.after is not None and _incomplete(row.after):
                self._mark(row.id)
            elif row.type == "stack" and row.id in self._awaited:
                self._mark(self._awaited[row.id])

    def _mark(self, project_id: int) -> None:
        self._due.add(project_id)
        self._wake.set()

    async def _complete(self, project_id: int) -> None:
        project = await self._context.store.get("account", project_id)
        if project is None or not _incomplete(project):
            return
        if project["createdStackIds"] is None:
            await self._create(project)
        else:
            await self._start(project)

    async def _create(self, project: Record) -> None:
        store = self._context.store
        template = await store.get("projectTemplate", int(project["projectTemplateId"]))
        entries = [] if template is None else list(template["stacks"] or ())
        present = {str(stack["externalId"]): stack for stack in await self._stacks(project)}
        changes = store.changes()
        changes.guard(project, state=tuple(_READY), createdStackIds=None, removed=None)
        ids: list[int] = []
        for entry in entries:
            stack = self._plan(changes, project, entry, present)
            if stack is not None:
                ids.append(stack.id)
        changes.update(project, {"createdStackIds": ids, "startedStackIds": []})
        await store.commit(changes)
        log.info("infrastructure.stacks_created", account_id=project.id, stacks=len(ids))

    def _plan(
        self, changes: Changes, project: Record, entry: Mapping[str, Any], present: Mapping[str, Record]
    ) -> Record | None:
        """The stack of a template's entry; None for one that this server has no template for."""
        name = str(entry.get("name") or "")
        answers = entry.get("answers") or {}
        if entry.get("dockerCompose"):
            return plan_custom_stack(self._context, changes, entry, account_id=project.id, name=name, answers=answers)
        wanted = str(entry.get("templateId") or "") or str(entry.get("templateVersionId") or "").rpartition(":")[0]
        template = stack_templates().get(wanted)
        if template is None:
            log.warning(
                "infrastructure.unknown_template",
                account_id=project.id,
                template=wanted,
                known=", ".join(stack_templates()),
            )
            return None
        existing = present.get(template.external_id)
        if existing is not None:
            return existing
        return plan_stack(
            self._context, changes, template, account_id=project.id, name=name or template.name, answers=answers
        )

    async def _start(self, project: Record) -> None:
        """Start all stacks once the services of each exist: the network that containers join is then there, too."""
        created = [int(each) for each in project["createdStackIds"] or ()]
        stacks = await self._context.store.get_many("stack", created)
        making = [each.id for each in stacks.values() if each.state not in _MADE | _LOST]
        self._awaited.update(dict.fromkeys(making, project.id))
        if making:
            return
        for stack_id in created:
            self._awaited.pop(stack_id, None)
            stack = stacks.get(stack_id)
            if stack is None or stack.state in _LOST:
                self._report_lost(project, stack)
            elif stack_id not in (project["startedStackIds"] or ()):
                await activate_services(self._context, stack)
        changes = self._context.store.changes()
        changes.update(project, {"startedStackIds": created})
        await self._context.store.commit(changes)

    @staticmethod
    def _report_lost(project: Record, stack: Record | None) -> None:
        reason = "it was removed" if stack is None else stack["transitioningMessage"] or f"it is {stack.state}"
        log.warning(
            "infrastructure.stack_lost",
            account_id=project.id,
            stack=None if stack is None else stack.name,
            reason=reason,
        )

    async def _stacks(self, project: Record) -> list[Record]:
        return await self._context.store.find_by("stack", accountId=project.id, removed=None)


def _incomplete(project: Record) -> bool:
    return project["removed"] is None and project.state in _READY and awaits_stacks(project)
