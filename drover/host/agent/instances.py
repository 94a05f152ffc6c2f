"""Containers at the server's request: activate, deactivate, remove, force-stop, inspect.

Every handler looks at what is and does what is missing, so a request may come twice or after a crash. The happy
path of a start is create, start, inspect: three calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog
from aiodocker.exceptions import DockerError

from drover.host.agent.cni import ManagedNetwork
from drover.host.agent.container_events import Expectations
from drover.host.agent.engine import Engine, JsonObject, ignoring_absence
from drover.host.agent.errors import AgentError
from drover.host.agent.images import Images, Progress
from drover.host.agent.index import AGENT_CONTAINER, ContainerEntry, ContainerIndex
from drover.host.agent.parameters import (
    CreateParameters,
    MappingFacts,
    container_name,
    docker_parameters,
    image_reference,
)
from drover.host.agent.parameters.names import LABEL_CNI_NETWORK, LABEL_PULL_IMAGE, LABEL_UUID
from drover.host.agent.payload import (
    ForceStopRequest,
    InspectRequest,
    Instance,
    InstanceHostMap,
    InstanceRequest,
)
from drover.host.agent.report import absent_report, instance_report
from drover.host.agent.volumes import Volumes
from drover.host.agent.wait_program import WaitProgram, lacks_wait_program

log = structlog.get_logger(__name__)

DEFAULT_STOP_GRACE = 10
REMOVE_TRIES = 10
REMOVE_PAUSE = 0.5


class Instances:
    """The containers of one engine. `facts()` gives the mapping's view of the host, fresh for each start."""

    def __init__(
        self,
        engine: Engine,
        *,
        index: ContainerIndex,
        images: Images,
        volumes: Volumes,
        network: ManagedNetwork,
        wait_program: WaitProgram,
        expectations: Expectations,
        facts: Callable[[], MappingFacts],
        host_ip: str | None,
        concurrency: int,
    ) -> None:
        self._engine = engine
        self._index = index
        self._images = images
        self._volumes = volumes
        self._network = network
        self._wait_program = wait_program
        self._expectations = expectations
        self._facts = facts
        self._host_ip = host_ip
        self._slots = asyncio.Semaphore(concurrency)

    # --- activate ---

    async def activate(self, request: InstanceRequest, progress: Progress) -> JsonObject:
        """Brings the instance's container up and describes it. Raises AgentError or DockerError."""
        instance = request.instance_host_map.instance
        existing = await self._existing(instance)
        if request.no_op:
            return await self._describe(instance, existing, network_must_work=False)
        if existing is not None and _running(existing):
            return await self._describe(instance, existing)
        if instance.network_kind == "cni":
            await self._network.require_manager(_network_name(instance), progress)
            await self._wait_program.ensure()
        if existing is not None:
            async with self._slots:
                await self._start(str(existing["Id"]))
            container = str(existing["Id"])
        else:
            container = await self._run(request.instance_host_map, progress)
        return await self._describe(instance, await self._inspect(container))

    async def _run(self, instance_host_map: InstanceHostMap, progress: Progress) -> str:
        """Creates and starts the container; a container that does not start is removed again."""
        instance = instance_host_map.instance
        await self._fetch_image(instance, progress)
        parameters = await self._parameters(instance_host_map)
        # One slot for both calls: finishing one container beats having many half-made ones.
        async with self._slots:
            container, ours = await self._create(parameters, instance, progress)
            try:
                await self._start(container)
            except DockerError:
                if ours:
                    await self._discard(container)
                raise
        return container

    async def _fetch_image(self, instance: Instance, progress: Progress) -> None:
        reference = image_reference(instance)
        credential = instance.image.registry_credential if instance.image else None
        if instance.labels.get(LABEL_PULL_IMAGE) == "always":
            await self._images.pull(reference, credential=credential, progress=progress)
        else:
            await self._images.ensure(reference, credential=credential, progress=progress)

    async def _parameters(self, instance_host_map: InstanceHostMap) -> CreateParameters:
        instance = instance_host_map.instance
        facts = replace(
            self._facts(),
            find_container=self._container_id,
            flex_mounts=await self._volumes.prepare(instance),
        )
        if instance.network_kind == "cni":
            facts = replace(facts, image=await self._images.defaults(image_reference(instance)))
        parameters = docker_parameters(instance_host_map, facts)
        for dropped in parameters.dropped:
            log.warning(
                "container.parameter.dropped",
                instance=instance.uuid,
                parameter=dropped.field,
                reason=dropped.reason,
            )
        return parameters

    async def _create(self, parameters: CreateParameters, instance: Instance, progress: Progress) -> tuple[str, bool]:
        """The container's id, and whether this call made it."""
        try:
            container = await self._engine.create_container(parameters.name, parameters.body)
        except DockerError as error:
            if error.status == 404 and "no such image" in error.message.lower():
                container = await self._create_after_pull(parameters, instance, progress)
            elif error.status == 409:
                return await self._adopt(parameters.name, instance, error), False
            else:
                raise
        labels = parameters.body["Labels"]
        self._index.put(
            ContainerEntry(id=container, name=parameters.name, image=parameters.image, running=False, labels=labels)
        )
        return container, True

    async def _create_after_pull(self, parameters: CreateParameters, instance: Instance, progress: Progress) -> str:
        """The image went away between the check and the create."""
        self._images.forget(parameters.image)
        credential = instance.image.registry_credential if instance.image else None
        await self._images.pull(parameters.image, credential=credential, progress=progress)
        return await self._engine.create_container(parameters.name, parameters.body)

    async def _adopt(self, name: str, instance: Instance, conflict: DockerError) -> str:
        """The name is taken: by this very instance (created before a crash), or by somebody else."""
        inspect = await self._inspect(name)
        if inspect is None or _label(inspect, LABEL_UUID) != instance.uuid:
            raise conflict
        self._remember(inspect)
        return str(inspect["Id"])

    async def _start(self, container: str) -> None:
        self._expectations.expect(container, "start")
        try:
            try:
                await self._engine.start_container(container)
            except DockerError as error:
                if not lacks_wait_program(error):
                    raise
                # Somebody removed the volume while no container used it.
                await self._wait_program.reinstall()
                await self._engine.start_container(container)
        except (DockerError, AgentError):
            self._expectations.withdraw(container, "start")
            raise

    async def _discard(self, container: str) -> None:
        self._expectations.expect(container, "die", "destroy")
        try:
            await self._engine.remove_container(container, force=True)
        except DockerError as error:
            log.warning("container.discard.failed", container=container, error=error.message)
        else:
            self._index.drop(container)

    # --- deactivate, remove ---

    async def deactivate(self, request: InstanceRequest, _: Progress) -> JsonObject:
        """Stops the container; `processData.timeout` seconds of grace, then it is killed."""
        instance = request.instance_host_map.instance
        container = await self._locate(instance)
        if container is None:
            return absent_report(instance.external_id, host_ip=self._host_ip)
        if self._protected(container):
            log.warning("container.stop.refused", container=container, reason="it runs this agent")
            return await self._describe(instance, await self._inspect(container))
        timeout = request.process_data.timeout if request.process_data else None
        grace = DEFAULT_STOP_GRACE if timeout is None else max(0, int(timeout))
        if self._seems_running(container):
            self._expectations.expect(container, "die", "stop")
        await ignoring_absence(self._engine.stop_container(container, grace=grace))
        inspect = await self._inspect(container)
        if inspect is not None and _running(inspect):
            await ignoring_absence(self._engine.kill_container(container))
            inspect = await self._inspect(container)
        if inspect is not None and _running(inspect):
            self._expectations.withdraw(container, "die", "stop")
            raise AgentError(f"Failed to stop container {instance.uuid}")
        return await self._describe(instance, inspect)

    async def remove(self, request: InstanceRequest, _: Progress) -> JsonObject:
        """Kills and removes the container; its volumes stay, they have a life of their own."""
        instance = request.instance_host_map.instance
        container = await self._locate(instance)
        if container is None:
            return {}
        if self._protected(container):
            log.warning("container.remove.refused", container=container, reason="it runs this agent")
            return {}
        await self._remove_container(container)
        return absent_report(instance.external_id or container, host_ip=self._host_ip)

    async def remove_instance(self, instance: Instance) -> None:
        """Removes the instance's container, if there is one: it takes its root disk along."""
        container = await self._locate(instance)
        if container is not None and not self._protected(container):
            await self._remove_container(container)

    async def _remove_container(self, container: str) -> None:
        """Removes one container by its Docker id; a container that is gone already is fine."""
        self._expectations.expect(container, "die", "stop", "destroy")
        for attempt in range(REMOVE_TRIES):
            try:
                if self._seems_running(container) or attempt:
                    await self._engine.kill_container(container)
            except DockerError as error:
                # 409: not running, which is what was wanted.
                if error.status not in (404, 409):
                    raise
            try:
                await self._engine.remove_container(container)
                break
            except DockerError as error:
                if error.status == 404:
                    break
                if error.status != 409 or attempt == REMOVE_TRIES - 1:
                    raise
            # The first refusal may only mean that the index was late: kill at once.
            await asyncio.sleep(REMOVE_PAUSE if attempt else 0)
        self._index.drop(container)

    # --- the small ones ---

    async def force_stop(self, request: ForceStopRequest, _: Progress) -> None:
        container = request.instance_force_stop.id
        if container and not self._protected(container):
            await ignoring_absence(self._engine.stop_container(container, grace=0))

    async def inspect(self, request: InspectRequest, _: Progress) -> JsonObject:
        """By id, else by name; an empty inspect when there is no such container."""
        target = request.instance_inspect
        found = await self._inspect(target.id) if target.id else None
        if found is None and target.name:
            found = await self._inspect(target.name.rsplit("/", 1)[-1])
        return {"instanceInspect": found or {}}

    # --- looking ---

    async def _describe(
        self, instance: Instance, inspect: JsonObject | None, *, network_must_work: bool = True
    ) -> JsonObject:
        if inspect is None:
            return absent_report(instance.external_id, host_ip=self._host_ip)
        address: str | None = None
        if _label(inspect, LABEL_CNI_NETWORK) and _running(inspect):
            try:
                address = await self._network.address(inspect)
            except AgentError:
                if network_must_work:
                    raise
        return instance_report(inspect, host_ip=self._host_ip, container_ip=address)

    async def _existing(self, instance: Instance) -> JsonObject | None:
        """The instance's container, verified. Costs no call when the index knows none and none is named."""
        entry = self._index.find(instance)
        container = entry.id if entry else instance.external_id
        if not container:
            return None
        inspect = await self._inspect(container)
        if inspect is None and entry is not None:
            self._index.drop(entry.id)
        return inspect

    async def _locate(self, instance: Instance) -> str | None:
        """The container's id, for operations that must not miss it: the engine is asked in case of doubt."""
        if (entry := self._index.find(instance)) is not None:
            return entry.id
        candidates = [instance.external_id, container_name(name=instance.name, uuid=instance.uuid or "")]
        for candidate in candidates:
            inspect = await self._inspect(candidate) if candidate else None
            if inspect is not None and (
                candidate == instance.external_id or _label(inspect, LABEL_UUID) == instance.uuid
            ):
                self._remember(inspect)
                return str(inspect["Id"])
        return None

    async def _inspect(self, container: str) -> JsonObject | None:
        try:
            return await self._engine.inspect_container(container)
        except DockerError as error:
            if error.status == 404:
                return None
            raise

    def _container_id(self, instance: Instance) -> str | None:
        entry = self._index.find(instance)
        return entry.id if entry else None

    def _seems_running(self, container: str) -> bool:
        """By the index: wrong for a moment at worst, so not enough to leave something out for good."""
        entry = self._index.get(container)
        return entry is None or entry.running

    def _remember(self, inspect: JsonObject) -> None:
        """Adds what the index has missed; what it knows, the events keep better than a late answer could."""
        if self._index.get(str(inspect["Id"])) is None:
            self._index.put(_entry(inspect))

    def _protected(self, container: str) -> bool:
        entry = self._index.get(container)
        return entry is not None and entry.name == AGENT_CONTAINER


def _running(inspect: JsonObject) -> bool:
    return bool((inspect.get("State") or {}).get("Running"))


def _label(inspect: JsonObject, label: str) -> str:
    return str(((inspect.get("Config") or {}).get("Labels") or {}).get(label) or "")


def _entry(inspect: JsonObject) -> ContainerEntry:
    config = inspect.get("Config") or {}
    return ContainerEntry(
        id=str(inspect["Id"]),
        name=str(inspect.get("Name") or "").lstrip("/"),
        image=str(config.get("Image") or ""),
        running=_running(inspect),
        labels=config.get("Labels") or {},
    )


def _network_name(instance: Instance) -> str:
    network = instance.nics[0].network if instance.nics else None
    return (network and network.name) or "managed"
