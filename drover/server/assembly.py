"""All parts of a server, joined: what depends on what is said here and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import structlog
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, WebSocketRoute

from drover.server.api.app import create_api
from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.scripts import scripts_routes
from drover.server.api.call import Call
from drover.server.api.channels.access import StreamAccess
from drover.server.api.channels.agent_types import AgentTypes
from drover.server.api.channels.config_content import ConfigItems
from drover.server.api.channels.feeds import Feeds, View
from drover.server.api.channels.metadata_answers import ITEM as METADATA_ANSWERS
from drover.server.api.channels.metadata_answers import MetadataAnswers
from drover.server.api.channels.publishing import Publishing
from drover.server.api.channels.streams import StreamProxy
from drover.server.api.channels.subscribe import Subscriptions
from drover.server.api.channels.tokens import StreamTokens
from drover.server.api.channels.tunnel import Tunnels
from drover.server.api.channels.world import WorldStream
from drover.server.api.deploy import ComposeDeployer
from drover.server.api.extensions import Extensions
from drover.server.api.internal import InternalAuthenticator
from drover.server.api.rendering import render_aligned
from drover.server.api.request import ApiConfig, base_url
from drover.server.api.transform import transform_routes
from drover.server.api.types import (
    accounts,
    credentials,
    projects,
    register_types,
    registration,
    registries,
    secrets,
    service_events,
    tokens,
)
from drover.server.api.types import tasks as task_types
from drover.server.api.urls import Urls
from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Handlers, Watch
from drover.server.orchestration import hosts_and_instances, infrastructure
from drover.server.orchestration.accounts import AccountHandlers
from drover.server.orchestration.background import Background
from drover.server.orchestration.context import Context
from drover.server.orchestration.external_handlers import ExternalHandlers
from drover.server.orchestration.images.credentials import RegistryCredentials
from drover.server.orchestration.images.pull_tasks import KIND as PULL_TASK
from drover.server.orchestration.images.pull_tasks import PullTasks
from drover.server.orchestration.networks import psk
from drover.server.orchestration.networks.defaults import plan_default_networks
from drover.server.orchestration.networks.drivers import SERVICE_KIND as NETWORK_DRIVER_SERVICE
from drover.server.orchestration.registration import GenericObjectHandlers
from drover.server.orchestration.seed import seed
from drover.server.orchestration.services import build as build_services
from drover.server.orchestration.services.balancer_reports import BalancerReports
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.resources import catalog
from drover.server.resources.tables import column_fields, table
from drover.server.snapshot import Snapshots
from drover.server.snapshot.receivers import Receivers
from drover.server.store import Database, Record, Store, TypeMap
from drover.server.store.database import database_url
from drover.server.store.schema import migrate

log = structlog.get_logger(__name__)

_RESTART_SECONDS = 1.0
_FAMILIES = (accounts, credentials, projects, registration, registries, secrets, tokens)


@dataclass(frozen=True, slots=True)
class Assembly:
    """A server that runs, without its listening socket."""

    context: Context
    api: Starlette
    subscriptions: Subscriptions
    tunnels: Tunnels
    config_items: ConfigItems
    snapshots: Snapshots
    world: WorldStream
    admin_password: str | None = field(repr=False)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, data_dir: Path, db: str, auth: Literal["local", "none"], trusted_proxies: Sequence[str]
    ) -> AsyncIterator[Assembly]:
        database = Database(database_url(db, data_dir=data_dir))
        await migrate(database)
        store = Store(database, type_maps())
        await store.start()
        try:
            async with _running(store, data_dir, auth, trusted_proxies) as assembly:
                yield assembly
        finally:
            await store.stop()

    def close_streams(self) -> None:
        """Let go of the connections that would otherwise stay open for ever."""
        self.subscriptions.close_all()
        self.tunnels.close_all()
        self.world.close_all()


def type_maps() -> list[TypeMap]:
    """The stored types and where their fields lie."""
    names = sorted(name for name, each in catalog().resources.items() if each.stored and each.parent is None)
    return [TypeMap(name, table(name), column_fields(name)) for name in names]


@contextlib.asynccontextmanager
async def _running(
    store: Store, data_dir: Path, auth: Literal["local", "none"], trusted_proxies: Sequence[str]
) -> AsyncIterator[Assembly]:
    settings = Settings(store)
    await settings.start()
    handlers = Handlers()
    engine = Engine(store, catalog().processes, handlers)
    context = Context(
        store=store, engine=engine, bus=Bus(), watch=Watch(store), settings=settings, vault=Vault.open(data_dir)
    )
    access = AccessControl.open(context, data_dir)
    extensions = Extensions()
    deployer = ComposeDeployer(context)
    hosting = hosts_and_instances.assemble(context, handlers)
    companions = {NETWORK_DRIVER_SERVICE: hosting.network_drivers}
    services = build_services(context, handlers, deployer, companions)
    background = Background()
    ExternalHandlers(context, background).register(handlers)
    AccountHandlers(context, [plan_default_networks]).register(handlers)
    pull_tasks = PullTasks(hosting.channel, hosting.hosts, RegistryCredentials(store, access.vault))
    GenericObjectHandlers(context, {PULL_TASK: pull_tasks.run}).register(handlers)
    equipment = infrastructure.assemble(context, handlers)
    first_environment = [plan_default_networks, await infrastructure.first_environment(context)]
    seeded = await seed(context, auth=auth, project_seeds=first_environment)
    config = ApiConfig(trusted_proxies=tuple(trusted_proxies))
    config_items = ConfigItems(context, access.authenticate)
    config_items.add(psk.ITEM, psk.NetworkKeys(context))
    subscriptions, tunnels, routes = _channels(context, access, extensions, config)
    routes.extend(config_items.routes())
    snapshots = Snapshots(store, ipsec_checked=lambda: settings.bool("ipsec.service.enable.healthcheck"))
    receivers = Receivers(store)
    world = WorldStream(snapshots, receivers, access.authenticate, access.revocations)
    answers = MetadataAnswers(context, snapshots, receivers)
    config_items.add(METADATA_ANSWERS, answers)
    routes.append(WebSocketRoute("/{version}/world", world.endpoint))
    register_types(extensions, context)
    task_types.register(extensions, hosting.tasks.execute)
    service_events.register(extensions, hosting.health)
    for family in _FAMILIES:
        family.install(extensions, access)
    authenticate = InternalAuthenticator(access.authenticate)
    api = create_api(context, authenticate=authenticate, extensions=extensions, config=config, routes=routes)
    deployer.bind(api)
    keepers = (
        services.reconciler,
        services.health,
        services.membership,
        equipment,
        snapshots,
        answers,
        background,
    )
    tasks = [asyncio.create_task(_kept_running(each)) for each in (*hosting.services, *keepers)]
    await engine.recover()
    try:
        yield Assembly(context, api, subscriptions, tunnels, config_items, snapshots, world, seeded.admin_password)
    finally:
        await api.state.audit.stop()
        await engine.stop()
        await _end(tasks)


async def _kept_running(part: hosts_and_instances.Service) -> None:
    """A part that fails is a defect, but no reason for the others to stop, nor for it to stay away."""
    while True:
        try:
            await part.run()
        except Exception:
            log.exception("server.part_failed", part=type(part).__name__, restart_in=_RESTART_SECONDS)
        await asyncio.sleep(_RESTART_SECONDS)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            log.error("server.part_failed", error=repr(outcome))


def _channels(
    context: Context, access: AccessControl, extensions: Extensions, config: ApiConfig
) -> tuple[Subscriptions, Tunnels, list[BaseRoute]]:
    tokens = StreamTokens(access.host_keys)
    tunnels = Tunnels()
    StreamAccess(tokens).register(extensions)
    AgentTypes(tokens).register(extensions)
    Publishing(context.bus, BalancerReports(context)).register(extensions)

    def address(connection: HTTPConnection) -> str:
        return base_url(connection, config, context.settings)

    async def render(view: View, records: Sequence[Record]) -> Mapping[tuple[str, int], Mapping[str, Any]]:
        urls = Urls(view.base_url, view.version, view.project)
        call = Call(context=context, extensions=extensions, caller=view.caller, urls=urls)
        shown = await render_aligned(call, records)
        return {record.key: each for record, each in zip(records, shown, strict=True) if each is not None}

    subscriptions = Subscriptions(
        bus=context.bus,
        feeds=Feeds(context.store),
        settings=context.settings,
        authenticate=access.authenticate,
        render=render,
        base_url=address,
        revocations=access.revocations,
    )
    routes: list[BaseRoute] = [
        WebSocketRoute("/{version}/subscribe", subscriptions.endpoint),
        WebSocketRoute("/{version}/projects/{project}/subscribe", subscriptions.endpoint),
        *StreamProxy(tokens, tunnels).routes(),
        *transform_routes(access.authenticate, config),
        *scripts_routes(access, config),
    ]
    return subscriptions, tunnels, routes
