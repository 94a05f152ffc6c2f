from __future__ import annotations

import base64
import hashlib

import pytest

from tests.server.api.auth.conftest import Server

pytestmark = pytest.mark.anyio


async def test_nobody_gets_in_without_credentials(server: Server) -> None:
    answer = await server.client().get("projects")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


async def test_the_seeded_administrator_logs_in(server: Server) -> None:
    admin = await server.admin()
    answer = await admin.get("accounts")
    assert answer.status == 200
    assert answer.headers["x-api-user-id"] == "1a1"
    token = (await admin.get("token")).json["data"][0]
    assert (token["user"], token["userType"], token["security"]) == ("admin", "admin", True)


async def test_the_token_collection_is_open_and_says_what_is_configured(server: Server) -> None:
    answer = await server.client().get("token")
    assert answer.status == 200
    (token,) = answer.json["data"]
    assert (token["authProvider"], token["enabled"], token["jwt"]) == ("localAuthConfig", True, None)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("admin:wrong", 401, "IncorrectPassword"),
        ("nobody:wrong", 401, "IncorrectPassword"),
        ("admin", 400, "codeInvalid"),
        (":x", 400, "codeInvalid"),
    ],
)
async def test_a_wrong_login_is_refused(server: Server, code: str, status: int, error: str) -> None:
    answer = await server.client().post("token", {"code": code})
    assert (answer.status, answer.json["code"]) == (status, error)


async def test_repeated_failures_make_the_next_try_wait(server: Server) -> None:
    client = server.client()
    statuses = [(await client.post("token", {"code": "admin:wrong"})).status for _ in range(5)]
    assert statuses[:3] == [401, 401, 401]
    assert statuses[-1] == 429
    refused = await client.post("token", {"code": f"admin:{server.admin_password}"})
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_session_works_as_cookie_header_and_query(server: Server) -> None:
    key = (await server.client().post("token", {"code": f"admin:{server.admin_password}"})).json["jwt"]
    assert len(key) == 40
    for client, query in (
        (server.client(cookie=f"token={key}"), {}),
        (server.client(authorization=f"Bearer {key}"), {}),
        (server.client(authorization=key), {}),
        (server.client(), {"token": key}),
    ):
        assert (await client.get("accounts", query=query)).status == 200


async def test_tools_that_only_know_basic_send_the_session_key_as_password(server: Server) -> None:
    key = (await server.client().post("token", {"code": f"admin:{server.admin_password}"})).json["jwt"]
    pair = base64.b64encode(f"X-API-BEARER=1a5:{key}".encode()).decode()
    answer = await server.client(authorization=f"Basic {pair}").get("stacks")
    assert answer.headers["x-api-account-id"] == "1a5"


async def test_logging_out_ends_the_session(server: Server) -> None:
    admin = await server.admin()
    answer = await admin.delete("token/current")
    assert answer.status == 204
    assert "token=;" in answer.headers["set-cookie"]
    assert (await admin.get("accounts")).status == 401


async def test_a_session_expires(server: Server) -> None:
    admin = await server.admin()
    (session,) = await server.context.store.find_by("authToken")
    changes = server.context.store.changes()
    changes.update(session, {"expires": 1})
    await server.context.store.commit(changes)
    assert (await admin.get("accounts")).status == 401


async def test_the_first_login_of_a_user_gives_him_an_environment(server: Server) -> None:
    await server.person("ann")
    ann = await server.login("ann", "correct horse")
    (project,) = (await ann.get("projects")).json["data"]
    assert project["name"] == "ann-Default"
    await server.login("ann", "correct horse")
    assert len((await ann.get("projects")).json["data"]) == 1


async def test_a_disabled_account_cannot_log_in_and_its_session_ends(server: Server) -> None:
    account_id = await server.person("bob")
    bob = await server.login("bob", "correct horse")
    assert (await bob.get("projects")).status == 200
    admin = await server.admin()
    assert (await admin.post(f"accounts/{account_id}?action=deactivate")).status == 202
    await server.settled("account", account_id, "inactive")
    assert (await bob.get("projects")).status == 401
    answer = await server.client().post("token", {"code": "bob:correct horse"})
    assert answer.status == 401


async def test_with_access_control_off_everybody_is_admin_unless_asked_to_prove_it(server: Server) -> None:
    await server.set_setting("api.security.enabled", "false")
    answer = await server.client().get("accounts")
    assert (answer.status, answer.headers["x-api-user-id"]) == (200, "1a1")
    assert (await server.client(x_enforce_authentication="true").get("accounts")).status == 401


async def test_a_new_login_ends_the_others_where_that_is_asked_for(server: Server) -> None:
    first = await server.admin()
    await server.set_setting("api.auth.restrict.concurrent.sessions", "true")
    second = await server.admin()
    assert (await first.get("accounts")).status == 401
    assert (await second.get("accounts")).status == 200


async def test_expired_sessions_are_cleaned_up_by_later_logins(server: Server) -> None:
    await server.admin()
    store = server.context.store
    (session,) = await store.find_by("authToken")
    changes = store.changes()
    changes.update(session, {"expires": 1})
    await store.commit(changes)
    await server.admin()
    assert [each.id for each in await store.find_by("authToken")] != [session.id]
    assert len(await store.find_by("authToken")) == 1


async def test_an_old_hash_is_replaced_when_its_owner_logs_in(server: Server) -> None:
    store = server.context.store
    salt = "00112233445566778899"
    old = f"SHA256:{salt}:{hashlib.sha256(f'{salt}old password'.encode()).hexdigest()}"
    changes = store.changes()
    (credential,) = await store.find_by("credential", kind="password")
    changes.update(credential, {"secretValue": old})
    await store.commit(changes)
    await server.login("admin", "old password")
    renewed = await store.get("credential", credential.id)
    assert renewed is not None
    assert renewed["secretValue"].startswith("$argon2id$")
    await server.login("admin", "old password")
