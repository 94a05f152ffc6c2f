"""Stacks that carry their Compose texts: the server applies them itself, with the same code as the command line.

Nothing here reads a file: texts come with the stack, and everything in them that would need one is refused
(``env_file``, ``extends.file``, ``secrets.file``, local builds).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp

from drover.client.apply import apply
from drover.client.errors import ClientError
from drover.client.plan import ApplyOptions, Mode, make_plan
from drover.common.errors import DroverError
from drover.compose import ComposeProject, SourceFile, load_project
from drover.server.api.internal import InternalApi
from drover.server.lifecycle import Run
from drover.server.orchestration.context import Context
from drover.server.orchestration.services.stacks import DeployError
from drover.server.store import Record


class ComposeDeployer:
    """Creates and upgrades the services of stacks. ``bind`` gives it the API once that exists."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._app: ASGIApp | None = None

    def bind(self, app: ASGIApp) -> None:
        self._app = app

    async def create(self, stack: Record) -> None:
        start = bool(stack["startOnCreate"])
        project = await self._project(stack, stack["environment"] or {}, stack.values)
        await self._apply(stack, project, ApplyOptions(start=start))

    async def upgrade(self, stack: Record, run: Run) -> dict[str, object]:
        given = run.data
        variables = {**(stack["environment"] or {}), **(given.get("environment") or {})}
        project = await self._project(stack, variables, {**stack.values, **given})
        await self._apply(stack, project, ApplyOptions(mode=Mode.UPGRADE, start=True))
        return {
            "externalId": given.get("externalId") or stack["externalId"],
            "environment": variables,
            "previousExternalId": stack["previousExternalId"] or stack["externalId"],
            "previousEnvironment": stack["previousEnvironment"] or stack["environment"],
        }

    async def _project(self, stack: Record, variables: Mapping[str, Any], texts: Mapping[str, Any]) -> ComposeProject:
        docker = SourceFile("docker-compose.yml", str(texts.get("dockerCompose") or ""))
        rancher = str(texts.get("rancherCompose") or "")
        answers = {str(name): str(value) for name, value in variables.items()}
        try:
            # Parsing a large file takes a while; the loop has other things to do.
            return await asyncio.to_thread(
                load_project,
                files=[docker],
                rancher_files=[SourceFile("rancher-compose.yml", rancher)] if rancher else [],
                variables=answers,
                stack_name=str(stack.name),
                source=None,
            )
        except DroverError as error:
            raise DeployError(str(error)) from error

    async def _apply(self, stack: Record, project: ComposeProject, options: ApplyOptions) -> None:
        if self._app is None:
            raise RuntimeError("the deployer was not given the API")
        api = InternalApi(self._app, self._context, int(stack["accountId"]), system=bool(stack["system"]))
        try:
            await apply(api, await make_plan(api, project, options))
        except (ClientError, TimeoutError) as error:
            raise DeployError(str(error) or "it took too long") from error
