"""Puts hosts, agents and containers together: the parts that know each other only through what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from drover.server.lifecycle import Handlers
from drover.server.orchestration.agents.channel import AgentChannel
from drover.server.orchestration.agents.connections import Connections
from drover.server.orchestration.agents.handlers import AgentHandlers
from drover.server.orchestration.agents.ping import Pinger
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.events.container_events import ContainerEvents
from drover.server.orchestration.events.instance_sync import InstanceSync
from drover.server.orchestration.health import Health
from drover.server.orchestration.health import build as build_health
from drover.server.orchestration.hosts import evacuation
from drover.server.orchestration.hosts.departure import Departure
from drover.server.orchestration.hosts.evacuation import HostEvents
from drover.server.orchestration.hosts.handlers import HostHandlers
from drover.server.orchestration.hosts.lost import LostHosts
from drover.server.orchestration.hosts.resources import HostResources
from drover.server.orchestration.housekeeping import BrokenContainers, Purging, TableCleanup
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.instances.allocator import Allocator
from drover.server.orchestration.instances.connect import Connector
from drover.server.orchestration.instances.create import Create
from drover.server.orchestration.instances.drain import BalancerDrain
from drover.server.orchestration.instances.external_schedulers import ExternalSchedulers
from drover.server.orchestration.instances.remove import Remove
from drover.server.orchestration.instances.start import Start, StartTools
from drover.server.orchestration.instances.stop import Stop
from drover.server.orchestration.instances.usage import Usage
from drover.server.orchestration.mirror import Mirror
from drover.server.orchestration.networks.addresses import Addresses
from drover.server.orchestration.networks.default_network import DefaultNetworks
from drover.server.orchestration.networks.drivers import NetworkDrivers
from drover.server.orchestration.networks.handlers import NetworkHandlers
from drover.server.orchestration.networks.resolve import Networks
from drover.server.orchestration.plain import PlainHandlers
from drover.server.orchestration.simulated import SimulatedAgents
from drover.server.orchestration.tasks import Tasks
from drover.server.orchestration.volumes.cleanup import VolumeCleanup
from drover.server.orchestration.volumes.handlers import VolumeHandlers
from drover.server.orchestration.volumes.where import VolumePlaces


class Service(Protocol):
    """Something that works as long as the server lives. ``run`` ends by cancellation only."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Hosting:
    """The parts that others call, and the services that the server's assembly runs."""

    channel: AgentChannel
    agents: Mirror
    hosts: Mirror
    usage: Usage
    networks: Networks
    network_drivers: NetworkDrivers
    pinger: Pinger
    host_handlers: HostHandlers
    simulated: SimulatedAgents
    stop: Stop
    health: Health
    tasks: Tasks
    services: tuple[Service, ...]


def assemble(context: Context, handlers: Handlers) -> Hosting:
    """Register the handlers of hosts, agents, containers, networks and volumes; returns the parts."""
    store = context.store
    agents, hosts = Mirror(store, "agent"), Mirror(store, "host")
    channel = AgentChannel(context.bus, agents, context.settings)
    usage = Usage(store, hosts, agents)
    networks = Networks(store)
    background = Background()
    resources = HostResources(context, agents, hosts)
    sync = InstanceSync(context, channel, hosts, usage)
    pinger = Pinger(context, agents, channel, on_resources=resources.take, on_instances=sync.take)
    AgentHandlers(context, agents, hosts, pinger).register(handlers)
    credentials = RegistryCredentials(store, context.vault)
    host_handlers = HostHandlers(context, agents, usage, pinger, Departure(context, channel, credentials))
    host_handlers.register(handlers)

    connector = Connector(store, networks, Addresses(store))
    schedulers = ExternalSchedulers(store, context.bus, channel, hosts, usage)
    allocator = Allocator(usage, schedulers)
    tools = StartTools(channel, hosts, allocator, connector, credentials, VolumePlaces(store, hosts), background)
    stop = Stop(context, channel, hosts, usage)
    drain = BalancerDrain(context, channel)
    stop.drains.append(drain)
    handlers.register("instance.create", Create(context, networks, credentials))
    handlers.register("instance.start", Start(context, tools))
    handlers.register("instance.stop", stop.stop)
    handlers.register("instance.restart", stop.restart)
    handlers.register("instance.error", stop.error)
    Remove(context, channel, hosts, VolumeCleanup(context)).register(handlers)
    VolumeHandlers(context, channel, hosts).register(handlers)
    ContainerEvents(context, channel, hosts).register(handlers)
    PlainHandlers(context).register(handlers)
    NetworkHandlers(context, DefaultNetworks(store)).register(handlers)
    network_drivers = NetworkDrivers(context)
    network_drivers.register(handlers)

    evacuation.register(handlers, HostEvents(context, hosts, host_handlers))

    simulated = SimulatedAgents(context.bus, agents)
    health = build_health(context, hosts=hosts, agents=agents)
    tasks = _tasks(context, handlers, pinger, hosts, agents)
    return Hosting(
        channel=channel,
        agents=agents,
        hosts=hosts,
        usage=usage,
        networks=networks,
        network_drivers=network_drivers,
        pinger=pinger,
        host_handlers=host_handlers,
        simulated=simulated,
        stop=stop,
        health=health,
        tasks=tasks,
        services=(
            simulated,
            pinger,
            Connections(context, agents, pinger),
            drain,
            schedulers,
            tasks,
            background,
            *health.services,
        ),
    )


def build(context: Context, handlers: Handlers) -> list[Service]:
    """:func:`assemble` for whoever needs nothing but the services to run."""
    return list(assemble(context, handlers).services)


def _tasks(context: Context, handlers: Handlers, pinger: Pinger, hosts: Mirror, agents: Mirror) -> Tasks:
    """What happens on a timer; the rhythm of each is ``task.<name>.schedule``."""
    tasks = Tasks(context)
    cleanup = TableCleanup(context)
    tasks.add("agent.ping", pinger.ping_all, on_timer=False)  # its own loop spreads it over the interval
    tasks.add("purge.resources", Purging(context, handlers).run_once)
    tasks.add("remove.resources", BrokenContainers(context).run_once)
    tasks.add("evacuate.hosts", LostHosts(context, hosts, agents).run_once)
    tasks.add("table.cleanup", cleanup.run_once)
    tasks.add("cleanup.task.instances", cleanup.clean_task_history)
    return tasks
