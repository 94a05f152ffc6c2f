"""The API over a real store and engine, with access control off; project 1a5 exists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from drover.server.api.app import create_api
from drover.server.api.auth.access import AccessControl
from drover.server.api.extensions import Extensions
from drover.server.api.request import ApiConfig
from drover.server.api.types import register_types
from drover.server.api.types.access import install_access
from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Handlers, Watch
from drover.server.orchestration.accounts import AccountHandlers
from drover.server.orchestration.context import Context
from drover.server.orchestration.host_api_keys import HostApiKeys
from drover.server.orchestration.registration import GenericObjectHandlers
from drover.server.orchestration.seed import seed
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.store import Store
from tests.server.api.client import ApiClient

PROJECT = 5


@pytest.fixture(scope="session")
def host_keys(tmp_path_factory: pytest.TempPathFactory) -> HostApiKeys:
    return HostApiKeys.open(tmp_path_factory.mktemp("host-keys"))


@pytest.fixture
async def context(store: Store, engine: Engine, handlers: Handlers) -> Context:
    settings = Settings(store, environment={})
    await settings.start()
    context = Context(
        store=store, engine=engine, bus=Bus(), watch=Watch(store), settings=settings, vault=Vault(bytes(32))
    )
    AccountHandlers(context).register(handlers)
    GenericObjectHandlers(context).register(handlers)
    await seed(context, auth="none")
    return context


@pytest.fixture
async def app(context: Context, tmp_path: Path, host_keys: HostApiKeys) -> AsyncIterator[Starlette]:
    extensions = Extensions()
    access = AccessControl.build(context, host_keys)
    register_types(extensions, context)
    install_access(extensions, access)
    application = create_api(
        context,
        authenticate=access.authenticate,
        extensions=extensions,
        config=ApiConfig(trusted_proxies=("198.51.100.0/24",)),
    )
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
def admin(app: Starlette) -> ApiClient:
    """Outside of any project."""
    return ApiClient(app, "/v2-beta")


@pytest.fixture
def owner(app: Starlette) -> ApiClient:
    """Inside the project."""
    return ApiClient(app, f"/v2-beta/projects/1a{PROJECT}")
