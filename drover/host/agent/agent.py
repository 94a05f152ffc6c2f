"""The host agent, put together: `run_agent` is the program behind `drover agent`.

register -> look at the engine -> serve the event channel, the container watcher and the streams until SIGTERM.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog
from aiodocker.exceptions import DockerError

from drover.client.events import HOST_CLEANUP, ContainerEvent
from drover.common.backoff import Backoff
from drover.common.lifetime import stop_signals
from drover.host.agent import host_facts
from drover.host.agent.channel import Channel
from drover.host.agent.cloud import CloudLabels
from drover.host.agent.cni import ManagedNetwork
from drover.host.agent.config_update import ConfigUpdater
from drover.host.agent.container_events import ContainerEventReporter, Expectations
from drover.host.agent.dispatcher import Dispatcher, Handler
from drover.host.agent.engine import Engine, JsonObject
from drover.host.agent.errors import AgentError, RegistrationError
from drover.host.agent.host_cleanup import HostCleanup
from drover.host.agent.identity import HostIdentity, engine_identity, engine_lock, host_public_key, load_identity
from drover.host.agent.image_requests import ImageRequests
from drover.host.agent.images import Images, Progress
from drover.host.agent.index import ContainerIndex
from drover.host.agent.instances import Instances
from drover.host.agent.launcher import launch_agent_container, registration_container
from drover.host.agent.parameters import MappingFacts
from drover.host.agent.payload import (
    ForceStopRequest,
    HostCleanupRequest,
    ImageRequest,
    InspectRequest,
    InstanceRequest,
    PullRequest,
    VolumeRequest,
    decode,
)
from drover.host.agent.ping import Pinger
from drover.host.agent.registration import Credentials, check_agent_ip, register
from drover.host.agent.server import Server, ServerClock, ServerError, new_session
from drover.host.agent.settings import AgentSettings, proxy_environment
from drover.host.agent.stream_tokens import TokenVerifier
from drover.host.agent.streams.backend import StreamBackend
from drover.host.agent.streams.router import StreamRouter
from drover.host.agent.trust import trust_server
from drover.host.agent.volumes import Volumes
from drover.host.agent.wait_program import WaitProgram
from drover.host.agent.watcher import Watcher

log = structlog.get_logger(__name__)

ENGINE_TRIES = 10
DRAIN_SECONDS = 5.0
CONTAINER_EVENT_TRIES = 5

T = TypeVar("T")


async def run_agent(settings: AgentSettings) -> None:
    """Runs until SIGTERM or SIGINT, or registers and launches the permanent container.

    Raises DroverError (with what to do next) when the host cannot be registered or served at all.
    """
    check_agent_ip(settings.agent_ip)
    clock = ServerClock()
    async with stop_signals() as stop, _connected(settings.docker_url) as engine:
        identity = load_identity(settings)
        # Before anything is asked of the server: an address that a container cannot reach would be tried for ever.
        own = await registration_container(engine, settings)
        if settings.registration_url:
            await trust_server(settings.registration_url, state_dir=settings.state_dir)
        async with new_session(settings.state_dir) as session:
            registering = asyncio.create_task(_credentials(settings, session, identity, clock))
            credentials = await _unless(stop, registering)
            if credentials is None:
                return
            if own is not None:
                await launch_agent_container(engine, own, credentials)
                return
            info = await engine.info()
            with engine_lock(settings.state_dir, engine_identity(info)):
                server = Server(
                    session,
                    credentials.url,
                    user=credentials.access_key,
                    password=credentials.secret_key,
                    clock=clock,
                )
                settings = replace(settings, agent_ip=settings.agent_ip or credentials.detected_ip)
                agent = HostAgent(settings, identity, engine, server, info, await engine.version())
                await agent.run(stop)


class HostAgent:
    """One agent for one engine and one server."""

    def __init__(
        self,
        settings: AgentSettings,
        identity: HostIdentity,
        engine: Engine,
        server: Server,
        engine_info: JsonObject,
        engine_version: JsonObject,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._engine = engine
        self._server = server
        self._info = engine_info
        self._version = engine_version
        self._facts = engine_facts(settings, server, engine_info, engine.api_version)
        self._index = ContainerIndex()
        self._images = Images(engine)
        self._volumes = Volumes(engine, plugin_dir=settings.volume_plugin_dir)
        expectations = Expectations()
        self._reporter = ContainerEventReporter(
            engine, self._post_container_event, host_uuid=identity.docker_uuid, expectations=expectations
        )
        self._watcher = Watcher(engine, self._index, self._images, self._reporter.offer)
        self._verifier = TokenVerifier(
            lambda: server.get_text("scripts/api.crt"), host_uuid=identity.docker_uuid, clock=server.clock
        )
        self._wait_program = WaitProgram(engine, settings.wait_program)
        self._instances = Instances(
            engine,
            index=self._index,
            images=self._images,
            volumes=self._volumes,
            network=ManagedNetwork(settings.cni_state_dir, wait=settings.cni_wait),
            wait_program=self._wait_program,
            expectations=expectations,
            facts=self._mapping_facts,
            host_ip=settings.reachable_ip,
            # This storage driver breaks under parallel creates.
            concurrency=1 if engine_info.get("Driver") == "devicemapper" else settings.docker_concurrency,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serves the server's requests until `stop` is set. Leaves no task behind."""
        cloud = CloudLabels(self._settings.state_dir / "info.json")
        router = StreamRouter(self._engine, self._index, self._verifier)
        streams = StreamBackend(self._server, router.serve, host_uuid=self._identity.docker_uuid)
        channel = Channel(self._server)
        dispatcher = Dispatcher(self._handlers(await self._pinger(cloud)), channel.send)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._watcher.run(), name="watcher"),
                group.create_task(self._reporter.run(), name="container-events"),
                group.create_task(streams.run(), name="streams"),
                group.create_task(self._serve_channel(channel, dispatcher), name="channel"),
            ]
            if self._settings.detect_cloud_provider:
                tasks.append(group.create_task(cloud.detect(self._server.session), name="cloud-labels"))
            log.info("agent.started", host=self._identity.docker_uuid, server=self._server.base)
            await stop.wait()
            # What runs may finish, and say so: the channel stays until it has.
            await dispatcher.drain(DRAIN_SECONDS)
            for task in tasks:
                task.cancel()
        log.info("agent.stopped", host=self._identity.docker_uuid)

    async def _serve_channel(self, channel: Channel, dispatcher: Dispatcher) -> None:
        # Requests are taken only once the index is complete: until then it would deny what exists.
        await self._watcher.ready.wait()
        try:
            await channel.run(dispatcher.submit)
        finally:
            await dispatcher.drain(0)

    async def _pinger(self, cloud: CloudLabels) -> Pinger:
        return Pinger(
            self._settings,
            self._identity,
            self._index,
            engine_info=self._info,
            engine_version=self._version,
            hostname=await host_facts.host_name(self._settings.hostname),
            host_ip=await host_facts.first_address(self._settings.reachable_ip),
            host_key=await asyncio.to_thread(host_public_key, self._settings.key_file),
            cloud_labels=lambda: cloud.labels,
            index_complete=lambda: self._watcher.current,
        )

    def _handlers(self, pinger: Pinger) -> dict[str, Handler]:
        """Every event this agent understands, by name."""
        instances, images = self._instances, ImageRequests(self._engine, self._images)
        cleanup = HostCleanup(
            self._engine, images=self._images, wait_program=self._wait_program, facts=self._mapping_facts
        )

        async def remove_volume(request: VolumeRequest, _: Progress) -> JsonObject:
            return await self._volumes.remove(request, remove_root_of=instances.remove_instance)

        return {
            "ping": pinger.answer,
            "config.update": ConfigUpdater(self._server, self._verifier).update,
            "compute.instance.activate": _typed(InstanceRequest, instances.activate),
            "compute.instance.deactivate": _typed(InstanceRequest, instances.deactivate),
            "compute.instance.remove": _typed(InstanceRequest, instances.remove),
            "compute.instance.force.stop": _typed(ForceStopRequest, instances.force_stop),
            "compute.instance.inspect": _typed(InspectRequest, instances.inspect),
            "compute.instance.pull": _typed(PullRequest, images.pull),
            "storage.image.activate": _typed(ImageRequest, images.activate),
            "storage.volume.activate": _typed(VolumeRequest, self._volumes.activate),
            "storage.volume.remove": _typed(VolumeRequest, remove_volume),
            HOST_CLEANUP: _typed(HostCleanupRequest, cleanup.clean_up),
        }

    def _mapping_facts(self) -> MappingFacts:
        return replace(self._facts, host_search_domains=host_facts.search_domains())

    async def _post_container_event(self, event: ContainerEvent) -> None:
        """A refused event is dropped: the instance list of the next ping says the same."""
        backoff = Backoff(initial=0.2, maximum=5.0)
        while True:
            try:
                await self._server.post("containerevents", event)
                return
            except ServerError as error:
                delay = backoff.next_delay()
                if 400 <= error.status < 500 or backoff.failures >= CONTAINER_EVENT_TRIES:
                    log.warning(
                        "container.event.refused",
                        container=event.external_id,
                        status=event.external_status,
                        error=str(error),
                    )
                    return
            await asyncio.sleep(delay)


def engine_facts(
    settings: AgentSettings, server: Server, info: Mapping[str, Any], api_version: tuple[int, int]
) -> MappingFacts:
    """What the mapping must know about this engine and kernel; fixed for the agent's life."""
    cgroup_v1 = str(info.get("CgroupVersion") or "1") == "1"
    return MappingFacts(
        api_version=api_version,
        docker_root=str(info.get("DockerRootDir") or "/var/lib/docker"),
        kernel_memory=cgroup_v1 and bool(info.get("KernelMemory")),
        oom_kill_disable=bool(info.get("OomKillDisable", cgroup_v1)),
        memory_swappiness=cgroup_v1,
        cpu_realtime=Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists(),
        default_disk=settings.default_disk,
        proxy_environment=proxy_environment(),
        config_url=settings.config_url or server.base,
        legacy_cpu_shares=settings.legacy_cpu_shares,
    )


def _typed(kind: type[T], handle: Callable[[T, Progress], Any]) -> Handler:
    """Parses the request's data before the handler sees it."""

    async def handler(data: msgspec.Raw, progress: Progress) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = await handle(decode(data, kind), progress)
        return answer

    return handler


async def _credentials(
    settings: AgentSettings, session: aiohttp.ClientSession, identity: HostIdentity, clock: ServerClock
) -> Credentials:
    """Keys that were given, else those that the registration URL leads to."""
    if settings.server_url and settings.agent_access_key and settings.agent_secret_key:
        return Credentials(settings.server_url, settings.agent_access_key, settings.agent_secret_key)
    if not settings.registration_url:
        raise RegistrationError(
            "The agent needs the registration URL of an environment: copy the command from the server "
            "(Infrastructure, Add Host), or give CATTLE_URL, CATTLE_ACCESS_KEY and CATTLE_SECRET_KEY"
        )
    return await register(session, settings.registration_url, host_token=identity.host_token, clock=clock)


@asynccontextmanager
async def _connected(url: str | None) -> AsyncIterator[Engine]:
    """The engine, which may still be starting when the agent does."""
    backoff = Backoff(initial=0.2, maximum=2.0)
    while True:
        try:
            engine = await Engine.connect(url)
            break
        except DockerError as error:
            delay = backoff.next_delay()
            if backoff.failures >= ENGINE_TRIES:
                raise AgentError(
                    f"{error.message}. Is Docker running, and is its socket mounted "
                    "(-v /var/run/docker.sock:/var/run/docker.sock)?"
                ) from error
        await asyncio.sleep(delay)
    try:
        yield engine
    finally:
        await engine.close()


async def _unless(stop: asyncio.Event, work: asyncio.Task[T]) -> T | None:
    """Runs the work until it is done or the agent is told to stop; then None."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)
