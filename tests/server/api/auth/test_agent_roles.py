"""What agents may do beyond their own host: some act for their environment."""

from __future__ import annotations

import pytest

from drover.server.orchestration.agents.accounts import plan_account
from drover.server.orchestration.credentials import unseal
from tests.server.api.auth.conftest import PROJECT, Server
from tests.server.api.auth.test_secrets import pem_pair
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


async def agent(server: Server, role: str, environment_id: int | None = 5) -> ApiClient:
    changes = server.context.store.changes()
    _, key = plan_account(changes, server.context.vault, 7, role=role, environment_id=environment_id)
    await server.context.store.commit(changes)
    assert str(key["secretValue"]).startswith("vault:")
    return server.with_key(str(key["publicValue"]), unseal(key, server.context.vault))


async def test_a_plain_agent_stays_in_its_own_account(server: Server) -> None:
    client = await agent(server, "agent")
    answer = await client.get("schemas")
    assert answer.headers["x-api-account-kind"] == "agent"
    assert answer.headers["x-api-account-id"] == answer.headers["x-api-user-id"]
    assert (await client.get("stacks")).status == 404
    assert (await client.get(f"{PROJECT}/stacks")).status == 403


@pytest.mark.parametrize("role", ["environment", "environmentAdmin"])
async def test_an_agent_of_the_environment_acts_for_it_and_for_no_other(server: Server, role: str) -> None:
    client = await agent(server, role)
    answer = await client.get("stacks")
    assert (answer.status, answer.headers["x-api-account-id"]) == (200, "1a5")
    assert (await client.get("accounts/1a1")).status == 404
    assert (await client.get("secrets")).status == 404
    admin = await server.admin()
    other = (await admin.post("projects", {"name": "other"})).json
    await server.settled("account", other["id"])
    assert (await client.get(f"/v2-beta/projects/{other['id']}/stacks")).status == 403
    assert (await client.get("stacks", headers={"X-API-Project-Id": other["id"]})).status == 403


async def test_only_the_environments_administrator_agents_read_keys(server: Server) -> None:
    owner = await server.admin(PROJECT)
    cert, pem = pem_pair()
    certificate = (await owner.post("certificates", {"name": "web", "cert": cert, "key": pem})).json
    registry = (await owner.post("registries", {"serverAddress": "quay.io"})).json
    body = {"registryId": registry["id"], "publicValue": "u", "secretValue": "pull secret"}
    credential = (await owner.post("registrycredentials", body)).json
    for role, readable in (("environmentAdmin", True), ("environment", False)):
        client = await agent(server, role)
        shown = (await client.get(f"certificates/{certificate['id']}")).json
        assert (shown.get("key") == pem) is readable
        shown = (await client.get(f"registrycredentials/{credential['id']}")).json
        assert (shown.get("secretValue") == "pull secret") is readable


async def test_an_agent_is_out_when_its_account_is_removed(server: Server) -> None:
    client = await agent(server, "environment")
    assert (await client.get("stacks")).status == 200
    (account,) = await server.context.store.find_by("account", kind="agent")
    changes = server.context.store.changes()
    changes.update(account, {"state": "removed", "removed": 1})
    await server.context.store.commit(changes)
    assert (await client.get("stacks")).status == 401
