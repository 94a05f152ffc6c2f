from __future__ import annotations

import base64

import pytest
from starlette.requests import HTTPConnection

from drover.server.api.caller import Caller
from tests.server.api.auth.conftest import PROJECT, Server, member

pytestmark = pytest.mark.anyio


async def caller_of(server: Server, authorization: str, project: str | None = None) -> Caller:
    scope = {
        "type": "http",
        "headers": [(b"authorization", authorization.encode())],
        "query_string": b"",
        "path": "/",
    }
    caller = await server.access.authenticate(HTTPConnection(scope), project=project)
    assert caller is not None
    return caller


async def test_a_stream_ends_when_its_key_is_deactivated(server: Server) -> None:
    admin = await server.admin()
    key, other = [(await admin.post(f"{PROJECT}/apikeys")).json for _ in range(2)]
    for each in (key, other):
        await server.settled("credential", each["id"])
    pair = base64.b64encode(f"{key['publicValue']}:{key['secretValue']}".encode()).decode()
    caller = await caller_of(server, f"Basic {pair}")
    ended: list[str] = []
    server.access.revocations.watch(caller, lambda: ended.append("key"))
    await admin.post(f"apikeys/{other['id']}?action=deactivate")
    await admin.put(f"apikeys/{key['id']}", {"name": "renamed"})
    assert ended == []
    await admin.post(f"apikeys/{key['id']}?action=deactivate")
    assert ended == ["key"]
    await admin.delete(f"apikeys/{key['id']}")
    assert ended == ["key"]


async def test_a_stream_ends_at_logout_and_when_the_account_goes(server: Server) -> None:
    account_id = await server.person("rob")
    rob = await server.login("rob", "correct horse")
    again = await server.login("rob", "correct horse")
    ended: list[str] = []
    first = await caller_of(server, rob.headers["authorization"])
    second = await caller_of(server, again.headers["authorization"])
    server.access.revocations.watch(first, lambda: ended.append("first"))
    server.access.revocations.watch(second, lambda: ended.append("second"))
    await rob.delete("token/current")
    assert ended == ["first"]
    await (await server.admin()).post(f"accounts/{account_id}?action=deactivate")
    assert ended == ["first", "second"]


async def test_a_stream_ends_when_the_membership_is_removed_or_changed(server: Server) -> None:
    account_id = await server.person("sue")
    admin = await server.admin()
    owner, ended = member("1a1", "owner"), list[str]()

    async def members(*more: dict[str, str]) -> None:
        assert (await admin.post("projects/1a5?action=setmembers", {"members": [owner, *more]})).status == 200

    await members(member(account_id, "member"))
    sue = await server.login("sue", "correct horse")
    caller = await caller_of(server, sue.headers["authorization"], "1a5")
    server.access.revocations.watch(caller, lambda: ended.append("changed"))
    await members(member(account_id, "member"))
    assert ended == []
    await members(member(account_id, "readonly"))
    assert ended == ["changed"]
    caller = await caller_of(server, sue.headers["authorization"], "1a5")
    server.access.revocations.watch(caller, lambda: ended.append("removed"))
    await members()
    assert ended == ["changed", "removed"]


async def test_a_watch_that_was_ended_is_silent(server: Server) -> None:
    await server.person("tim")
    tim = await server.login("tim", "correct horse")
    ended: list[str] = []
    stop = server.access.revocations.watch(
        await caller_of(server, tim.headers["authorization"]), lambda: ended.append("tim")
    )
    stop()
    stop()
    await tim.delete("token/current")
    assert ended == []


async def test_changing_the_provider_ends_sessions_of_the_old_one(server: Server) -> None:
    admin = await server.admin()
    await server.set_setting("api.auth.provider.configured", "githubconfig")
    answer = await admin.get("accounts")
    assert (answer.status, answer.json["code"]) == (401, "AuthProviderChanged")
