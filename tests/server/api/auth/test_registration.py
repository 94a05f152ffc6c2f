from __future__ import annotations

import base64

import pytest
from starlette.requests import HTTPConnection

from drover.server.api.auth.scripts import bootstrap_script, registration_script
from drover.server.lifecycle import Delegate, Handlers, Outcome, Run
from drover.server.orchestration.agents.accounts import plan_account
from drover.server.orchestration.host_api_keys import InvalidToken
from tests.server.api.auth.conftest import PROJECT, Server
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio

HOST = "ab" * 64


@pytest.fixture
def agents(server: Server, handlers: Handlers) -> None:
    """Agents get their account, as the agents' own handlers give it to them; nobody answers their pings here."""

    async def create(run: Run) -> Outcome:
        environment_id = run.record["agentResourcesAccountId"]
        changes = run.plan()
        account, _ = plan_account(
            changes, server.context.vault, run.record.id, role="agent", environment_id=environment_id
        )
        return Delegate({"accountId": account.id}, changes)

    handlers.register("agent.create", create)


async def new_token(server: Server) -> dict[str, str]:
    owner = await server.admin(PROJECT)
    created = await owner.post("registrationtokens")
    assert created.status == 201, created.content
    await server.settled("credential", created.json["id"])
    shown: dict[str, str] = (await owner.get(f"registrationtokens/{created.json['id']}")).json
    return shown


def machine(server: Server, token: str) -> ApiClient:
    pair = base64.b64encode(f"registrationToken:{token}".encode()).decode()
    return server.client("/v1", authorization=f"Basic {pair}")


async def registered(server: Server, token: str, host: str = HOST) -> dict[str, str]:
    client = machine(server, token)
    created = await client.post("register", {"key": host})
    assert created.status == 201, created.content
    assert created.json["secretKey"] is None
    await server.settled("genericObject", created.json["id"])
    (found, *_) = (await client.get("register", query={"key": host})).json["data"]
    shown: dict[str, str] = found
    return shown


async def test_a_registration_token_says_how_to_add_a_host(server: Server) -> None:
    token = await new_token(server)
    assert token["registrationUrl"] == f"http://drover.test/v2-beta/scripts/{token['token']}"
    assert token["links"]["registrationUrl"]  # type: ignore[index]
    assert token["image"] == "drover:latest"
    assert token["command"] == (
        "sudo docker run --rm --privileged -v /var/run/docker.sock:/var/run/docker.sock "
        f"-v /var/lib/rancher:/var/lib/rancher {token['image']} {token['registrationUrl']}"
    )
    assert "publicValue" not in token
    assert "secretValue" not in token


async def test_the_address_for_hosts_can_be_fixed(server: Server) -> None:
    await server.set_setting("api.host", "https://drover.example:8443/")
    await server.set_setting("bootstrap.required.image", "registry.example/agent:2")
    token = await new_token(server)
    assert token["registrationUrl"] == f"https://drover.example:8443/v1/scripts/{token['token']}"
    assert token["image"] == "registry.example/agent:2"


async def test_the_script_of_a_token_needs_no_login(server: Server) -> None:
    token = (await new_token(server))["token"]
    for prefix in ("/v1", "/v2-beta", "/v1/projects/1a5"):
        answer = await server.client(prefix).get(f"scripts/{token}")
        assert answer.status == 200
        assert answer.content.decode().splitlines() == [
            "#!/bin/sh",
            'export CATTLE_REGISTRATION_ACCESS_KEY="registrationToken"',
            f'export CATTLE_REGISTRATION_SECRET_KEY="{token}"',
            'export CATTLE_URL="http://drover.test/v1"',
            'export DETECTED_CATTLE_AGENT_IP="192.0.2.7"',
        ]
    for wrong in (token[:-1], token + "x", "nothing", "A:1:b"):
        assert (await server.client("/v1").get(f"scripts/{wrong}")).status == 404


async def test_the_public_keys_are_served_to_everybody(server: Server) -> None:
    public = (await server.client("/v1").get("scripts/api.crt")).content.decode()
    assert public.startswith("-----BEGIN PUBLIC KEY-----")
    authority = (await server.client("/v1").get("scripts/ca.pem")).content.decode()
    assert authority.startswith("-----BEGIN CERTIFICATE-----")
    assert (await server.client("/v1").get("scripts/bootstrap")).status == 401


@pytest.mark.parametrize("text", ['x"; rm -rf / #', "$(id)", "`id`", "a\nb", "http://x y", "-x"])
def test_nothing_strange_gets_into_a_script(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be put into a script"):
        registration_script(token="A:1:b", url=text, client_ip="192.0.2.1")
    with pytest.raises(ValueError, match="cannot be put into a script"):
        bootstrap_script(image=text, client_ip="192.0.2.1", ca_pem="x")
    assert 'AGENT_IP=""' in registration_script(token="A:1:b", url="http://h/v1", client_ip=text)


@pytest.mark.usefixtures("agents")
async def test_a_machine_registers_and_gets_an_agent_with_a_key(server: Server) -> None:
    token = (await new_token(server))["token"]
    shown = await registered(server, token)
    assert (shown["key"], shown["state"]) == (HOST, "active")
    agent = server.with_key(shown["accessKey"], shown["secretKey"], "/v1")
    schemas = (await agent.get("schemas")).json["data"]
    assert "publish" in {each["id"] for each in schemas}
    assert (await agent.get("schemas/configcontent")).json["id"] == "configContent"
    assert (await agent.get("schemas/account")).status == 404
    bootstrap = await agent.get("scripts/bootstrap")
    assert bootstrap.content.decode().startswith("#!/bin/bash")
    assert 'REQUIRED_IMAGE="drover:latest"' in bootstrap.content.decode()
    caller = await server.access.authenticate(_connection(shown))
    assert caller is not None
    assert (caller.role, caller.agent_id) == ("agent", 1)
    stored = await server.context.store.first("agent", id=1)
    assert stored is not None
    assert stored["uri"] == f"event://{stored.uuid}"
    assert stored["agentResourcesAccountId"] == 5


@pytest.mark.usefixtures("agents")
async def test_the_same_machine_gets_the_same_agent_and_another_one_its_own(server: Server) -> None:
    token = (await new_token(server))["token"]
    first, again = await registered(server, token), await registered(server, token)
    assert first["accessKey"] == again["accessKey"]
    assert first["secretKey"] == again["secretKey"]
    other = await registered(server, token, "cd" * 64)
    assert other["accessKey"] != first["accessKey"]


@pytest.mark.usefixtures("agents")
async def test_keys_are_shown_to_whoever_knows_the_host_token_only(server: Server) -> None:
    token = (await new_token(server))["token"]
    shown = await registered(server, token)
    client = machine(server, token)
    for query in ({}, {"key": "ef" * 64}):
        for each in (await client.get("register", query=query)).json["data"]:
            assert (each["accessKey"], each["secretKey"], each["key"]) == (None, None, None)
    owner = await server.admin(PROJECT)
    for path in ("register", "genericobjects", f"genericobjects/{shown['id']}", f"register/{shown['id']}"):
        content = (await owner.get(path)).content
        assert shown["secretKey"].encode() not in content
        assert HOST.encode() not in content


@pytest.mark.usefixtures("agents")
async def test_after_its_agent_was_removed_a_machine_gets_a_new_one(server: Server) -> None:
    token = (await new_token(server))["token"]
    first = await registered(server, token)
    store = server.context.store
    agent = await store.get("agent", 1)
    assert agent is not None
    changes = store.changes()
    changes.update(agent, {"state": "removed", "removed": 1})
    await store.commit(changes)
    assert (await machine(server, token).get("register", query={"key": HOST})).json["data"] == []
    second = await registered(server, token)
    assert second["accessKey"] != first["accessKey"]


async def test_a_registration_token_may_do_nothing_else(server: Server) -> None:
    client = machine(server, (await new_token(server))["token"])
    assert {each["id"] for each in (await client.get("schemas")).json["data"]} == {"register", "schema"}
    for path in ("hosts", "containers", "apikeys", "registrationtokens", "settings", "accounts"):
        assert (await client.get(path)).status == 404, path


async def test_revoking_a_registration_token_ends_it_at_once(server: Server) -> None:
    token = await new_token(server)
    client = machine(server, token["token"])
    assert (await client.get("register")).status == 200
    owner = await server.admin(PROJECT)
    assert (await owner.post(f"registrationtokens/{token['id']}?action=deactivate")).status == 202
    assert (await client.get("register")).status == 401
    assert (await server.client("/v1").get(f"scripts/{token['token']}")).status == 404
    await server.settled("credential", token["id"], "inactive")
    hidden = (await owner.get(f"registrationtokens/{token['id']}")).json
    assert hidden["token"] is None


async def test_whoever_may_not_add_hosts_sees_no_registration_token(server: Server) -> None:
    token = await new_token(server)
    account_id = await server.person("nora")
    admin = await server.admin()
    members = [
        {"externalId": "1a1", "externalIdType": "rancher_id", "role": "owner"},
        {"externalId": account_id, "externalIdType": "rancher_id", "role": "restricted"},
    ]
    assert (await admin.post("projects/1a5?action=setmembers", {"members": members})).status == 200
    nora = await server.login("nora", "correct horse", PROJECT)
    assert (await nora.get("registrationtokens")).status == 404
    assert (await nora.post("registrationtokens")).status in (403, 404)
    for path in ("credentials", f"credentials/{token['id']}"):
        assert token["token"].encode() not in (await nora.get(path)).content


async def test_a_registration_cannot_be_smuggled_in_as_a_generic_object(server: Server) -> None:
    owner = await server.admin(PROJECT)
    refused = await owner.post("genericobjects", {"kind": "register", "key": HOST})
    assert (refused.status, refused.json["code"]) == (422, "InvalidOption")
    assert (await owner.post("genericobjects", {"kind": "webhookReceiver", "key": "k"})).status == 201


async def test_stream_tokens_of_others_are_refused(server: Server) -> None:
    with pytest.raises(InvalidToken):
        server.access.host_keys.verify("a.b.c")


def _connection(shown: dict[str, str]) -> HTTPConnection:
    pair = base64.b64encode(f"{shown['accessKey']}:{shown['secretKey']}".encode()).decode()
    return HTTPConnection(
        {"type": "http", "headers": [(b"authorization", f"Basic {pair}".encode())], "query_string": b"", "path": "/"}
    )
