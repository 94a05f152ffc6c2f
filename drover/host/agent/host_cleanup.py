"""The last request to a host: take back what the environment's programs changed on it.

The server sends it when the host was removed and none of its containers runs any more. Each program runs to its end
in a container as the program itself had it, then the volumes that only existed for the environment go, and what the
agent made for it: the wait program. The agent, its container and its identity stay; they belong to the machine.

Every step is tried whatever another one says, and finds its work done when the request comes again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent.engine import Engine, JsonObject, ignoring_absence
from drover.host.agent.errors import AgentError
from drover.host.agent.images import Images, Progress
from drover.host.agent.parameters import MappingFacts, docker_parameters
from drover.host.agent.parameters.names import LABEL_AGENT_TASK
from drover.host.agent.payload import HostCleanupRequest, InstanceHostMap
from drover.host.agent.streams.logs import LineSplitter
from drover.host.agent.wait_program import WaitProgram

log = structlog.get_logger(__name__)

RUN_TIMEOUT = 120.0
MAX_LINES = 200
"""Of a program's output, the last ones: enough to see why it failed."""

_NO_RESTART = {"RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}}


class HostCleanup:
    """`facts()` gives the mapping's view of the host."""

    def __init__(
        self,
        engine: Engine,
        *,
        images: Images,
        wait_program: WaitProgram,
        facts: Callable[[], MappingFacts],
    ) -> None:
        self._engine = engine
        self._images = images
        self._wait_program = wait_program
        self._facts = facts

    async def clean_up(self, request: HostCleanupRequest, progress: Progress) -> JsonObject:
        """Raises AgentError with everything that could not be done, after all else was."""
        wanted = request.host_cleanup
        problems: list[str] = []
        for program in wanted.programs or ():
            await progress(f"Running {program.instance.name}", None)
            await _attempt(self._run(program, progress), problems)
        for name in sorted(set(wanted.volumes or ())):
            await _attempt(ignoring_absence(self._engine.remove_volume(name)), problems)
        await _attempt(self._wait_program.remove(), problems)
        if problems:
            raise AgentError("; ".join(problems))
        log.info("host.cleaned_up", programs=[each.instance.name for each in wanted.programs or ()])
        return {}

    async def _run(self, program: InstanceHostMap, progress: Progress) -> None:
        """Runs one program to its end. Raises AgentError or DockerError unless it succeeds."""
        parameters = docker_parameters(program, self._facts())
        credential = program.instance.image.registry_credential if program.instance.image else None
        await self._images.ensure(parameters.image, credential=credential, progress=progress)
        body: dict[str, Any] = {
            **parameters.body,
            # Not the labels of the program: nobody shall take this for a container of the environment.
            "Labels": {LABEL_AGENT_TASK: program.instance.name or parameters.name},
            "HostConfig": {**parameters.body["HostConfig"], **_NO_RESTART},
        }
        # What is left of an attempt that did not come to its end.
        await ignoring_absence(self._engine.remove_container(parameters.name, force=True))
        container = await self._engine.create_container(parameters.name, body)
        try:
            await self._engine.start_container(container)
            status = await self._engine.wait_container(container, timeout=RUN_TIMEOUT)
            output = await self._output(container)
        finally:
            await ignoring_absence(self._engine.remove_container(container, force=True))
        log.info("host.cleanup.program", name=program.instance.name, status=status, output=output)
        if status != 0:
            last = f": {output[-1]}" if output else ""
            raise AgentError(f"{program.instance.name} ended with status {status}{last}")

    async def _output(self, container: str) -> list[str]:
        splitter = LineSplitter(tty=False)
        lines: list[str] = []
        params = {"stdout": "1", "stderr": "1", "tail": str(MAX_LINES)}
        async with self._engine.logs(container, params) as content:
            async for chunk in content.iter_any():
                lines += splitter.feed(chunk)
        lines += splitter.rest()
        return [line[3:].rstrip() for line in lines]


async def _attempt(step: Awaitable[None], problems: list[str]) -> None:
    try:
        await step
    except DockerError as error:
        problems.append(error.message)
    except AgentError as error:
        problems.append(str(error))
