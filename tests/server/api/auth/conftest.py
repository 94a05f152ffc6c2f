"""A seeded server with access control on: the API over a real store and engine, and people who use it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from drover.server.api.app import create_api
from drover.server.api.auth.access import AccessControl
from drover.server.api.auth.scripts import scripts_routes
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

PROJECT = "/v2-beta/projects/1a5"


@cache
def host_keys(directory: Path) -> HostApiKeys:
    return HostApiKeys.open(directory)


@dataclass(frozen=True, slots=True)
class Server:
    """A running API, and clients for whoever wants to talk to it."""

    app: Starlette
    context: Context
    access: AccessControl
    admin_password: str
    data_dir: Path

    def client(self, prefix: str = "/v2-beta", **headers: str) -> ApiClient:
        return ApiClient(self.app, prefix, {name.replace("_", "-"): value for name, value in headers.items()})

    def with_key(self, public: str, secret: str, prefix: str = "/v2-beta") -> ApiClient:
        pair = base64.b64encode(f"{public}:{secret}".encode()).decode()
        return self.client(prefix, authorization=f"Basic {pair}")

    async def login(self, user: str, password: str, prefix: str = "/v2-beta") -> ApiClient:
        answer = await self.client().post("token", {"code": f"{user}:{password}"})
        assert answer.status == 201, answer.content
        return self.client(prefix, authorization=f"Bearer {answer.json['jwt']}")

    async def admin(self, prefix: str = "/v2-beta") -> ApiClient:
        return await self.login("admin", self.admin_password, prefix)

    async def person(self, name: str, *, kind: str = "user", password: str = "correct horse") -> str:
        """A new account with a password; returns its id."""
        admin = await self.admin()
        account = await admin.post("accounts", {"name": name, "kind": kind})
        assert account.status == 201, account.content
        await self.settled("account", account.json["id"])
        body = {"accountId": account.json["id"], "publicValue": name, "secretValue": password}
        created = await admin.post("passwords", body)
        assert created.status == 201, created.content
        await self.settled("credential", created.json["id"])
        return str(account.json["id"])

    async def settled(self, type_name: str, resource_id: str, state: str = "active") -> None:
        number = int("".join(each for each in resource_id[1:] if each.isdigit()))
        await self.context.watch.until(
            type_name, number, lambda record: record is not None and record.state == state, timeout=5
        )

    async def set_setting(self, name: str, value: str) -> None:
        changes = self.context.store.changes()
        row = await self.context.store.first("setting", name=name)
        if row is None:
            changes.insert("setting", {"name": name, "value": value})
        else:
            changes.update(row, {"value": value})
        await self.context.store.commit(changes)


@pytest.fixture(scope="session")
def key_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture
async def server(
    store: Store, engine: Engine, handlers: Handlers, tmp_path: Path, key_directory: Path
) -> AsyncIterator[Server]:
    settings = Settings(store, environment={})
    await settings.start()
    context = Context(
        store=store, engine=engine, bus=Bus(), watch=Watch(store), settings=settings, vault=Vault.open(tmp_path)
    )
    access = AccessControl.build(context, host_keys(key_directory))
    AccountHandlers(context).register(handlers)
    GenericObjectHandlers(context).register(handlers)
    seeded = await seed(context, auth="local")
    assert seeded.admin_password is not None
    extensions = Extensions()
    register_types(extensions, context)
    install_access(extensions, access)
    config = ApiConfig(trusted_proxies=())
    app = create_api(
        context,
        authenticate=access.authenticate,
        extensions=extensions,
        config=config,
        routes=scripts_routes(access, config),
    )
    async with app.router.lifespan_context(app):
        yield Server(app, context, access, seeded.admin_password, tmp_path)


def member(external_id: str, role: str) -> dict[str, Any]:
    return {"externalId": external_id, "externalIdType": "rancher_id", "role": role}
