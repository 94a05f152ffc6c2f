"""The API over a real store and engine, open to everybody; project 1a5 exists."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from drover.server.api.app import create_api
from drover.server.api.extensions import Extensions
from drover.server.api.open_access import OpenAccess
from drover.server.api.request import ApiConfig
from drover.server.api.types import register_types
from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Watch
from drover.server.orchestration.context import Context
from drover.server.orchestration.settings import Settings
from drover.server.store import Store
from tests.server.api.client import ApiClient

PROJECT = 5


@pytest.fixture
async def context(store: Store, engine: Engine) -> Context:
    settings = Settings(store, environment={})
    await settings.start()
    changes = store.changes()
    for number, kind in enumerate(("admin", "system", "superadmin", "token", "project"), start=1):
        record = changes.insert("account", {"kind": kind, "name": kind, "state": "active", "uuid": f"{kind}-uuid"})
        assert record.id == number
    await store.commit(changes)
    return Context(store=store, engine=engine, bus=Bus(), watch=Watch(store), settings=settings)


@pytest.fixture
async def app(context: Context) -> AsyncIterator[Starlette]:
    extensions = Extensions()
    register_types(extensions, context)
    application = create_api(
        context,
        authenticate=OpenAccess(context.store),
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
