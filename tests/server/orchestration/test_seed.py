from __future__ import annotations

import pytest

from drover.server.bus import Bus
from drover.server.lifecycle import Engine, Watch
from drover.server.orchestration.context import Context
from drover.server.orchestration.credentials import password_matches
from drover.server.orchestration.seed import seed
from drover.server.orchestration.settings import Settings
from drover.server.orchestration.vault import Vault
from drover.server.store import Changes, Record, Store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def context(store: Store, engine: Engine) -> Context:
    settings = Settings(store, environment={})
    await settings.start()
    return Context(store, engine, Bus(), Watch(store), settings, Vault(bytes(32)))


async def test_the_first_start_makes_what_tools_expect(context: Context) -> None:
    planned: list[int] = []

    def plan_networks(changes: Changes, project: Record) -> None:
        planned.append(project.id)

    seeded = await seed(context, auth="local", project_seeds=[plan_networks])
    assert seeded.first_start
    accounts = await context.store.find_by("account")
    assert [(each.id, each.uuid, each.kind, each.state) for each in accounts[:5]] == [
        (1, "admin", "admin", "active"),
        (2, "system", "system", "active"),
        (3, "superadmin", "superadmin", "inactive"),
        (4, "token", "token", "active"),
        (5, "adminProject", "project", "active"),
    ]
    assert [each.kind for each in accounts[5:]] == ["service", "register"]
    assert planned == [5]
    member = await context.store.first("projectMember", projectId=5)
    assert member is not None
    assert (member["externalId"], member["externalIdType"], member["role"]) == ("1", "rancher_id", "owner")
    assert await context.store.first("zone", name="zone1") is not None
    assert await context.store.first("task", name="agent.ping") is not None


async def test_the_password_is_made_once_and_never_again(context: Context) -> None:
    first = await seed(context, auth="local")
    assert first.admin_password is not None
    assert len(first.admin_password) == 20
    assert first.admin_password not in repr(first)
    (credential,) = await context.store.find_by("credential", kind="password")
    assert await password_matches(credential["secretValue"], first.admin_password)
    assert first.admin_password not in str(credential.values)
    assert (await seed(context, auth="local")).admin_password is None
    changes = context.store.changes()
    changes.update(credential, {"state": "removed", "removed": 1})
    await context.store.commit(changes)
    again = await seed(context, auth="local")
    assert (again.admin_password, again.first_start) == (None, False)
    assert len(await context.store.find_by("credential", kind="password")) == 1
    assert len(await context.store.find_by("account")) == 7


async def test_a_laboratory_has_no_password_until_it_asks_for_access_control(context: Context) -> None:
    assert (await seed(context, auth="none")).admin_password is None
    assert not context.settings.bool("api.security.enabled")
    assert await context.store.find_by("credential") == []
    later = await seed(context, auth="local")
    assert later.admin_password is not None
    assert context.settings.bool("api.security.enabled")
    assert context.settings.get("api.auth.provider.configured") == "localAuthConfig"


async def test_a_seed_that_changes_nothing_writes_nothing(context: Context) -> None:
    await seed(context, auth="local")
    written = context.store.database.rows_written
    statements = context.store.database.statements
    await seed(context, auth="local")
    assert context.store.database.rows_written == written
    assert context.store.database.statements - statements <= 3
