from __future__ import annotations

import hashlib
import io
import re
import zipfile

import pytest
from cryptography import x509

from tests.server.api.auth.conftest import PROJECT, Server, member

pytestmark = pytest.mark.anyio


async def test_a_key_shows_its_secret_once(server: Server) -> None:
    admin = await server.admin()
    created = (await admin.post("apikeys")).json
    assert re.fullmatch(r"[0-9A-F]{20}", created["publicValue"])
    assert re.fullmatch(r"[A-Za-z0-9]{40}", created["secretValue"])
    assert not set(created["secretValue"]) & set("O0lI")
    await server.settled("credential", created["id"])
    read = (await admin.get(f"apikeys/{created['id']}")).json
    assert read.get("secretValue") is None
    listed = (await admin.get("credentials")).json["data"]
    assert all(each.get("secretValue") is None for each in listed)


async def test_an_account_key_is_the_person_and_an_environment_key_the_environment(server: Server) -> None:
    admin = await server.admin()
    account_key = (await admin.post("apikeys")).json
    project_key = (await admin.post(f"{PROJECT}/apikeys")).json
    for key in (account_key, project_key):
        await server.settled("credential", key["id"])
    person = server.with_key(account_key["publicValue"], account_key["secretValue"])
    assert (await person.get("accounts")).headers["x-api-user-id"] == "1a1"
    program = server.with_key(project_key["publicValue"], project_key["secretValue"])
    answer = await program.get("stacks")
    assert (answer.status, answer.headers["x-api-account-id"]) == (200, "1a5")
    schema = await program.get("schemas/project")
    assert schema.json["collectionMethods"] == ["GET"]
    projects = (await program.get("projects")).json["data"]
    assert [each["id"] for each in projects] == ["1a5"]


async def test_a_wrong_secret_is_refused(server: Server) -> None:
    key = (await (await server.admin()).post("apikeys")).json
    await server.settled("credential", key["id"])
    good = server.with_key(key["publicValue"], key["secretValue"])
    assert (await good.get("projects")).status == 200
    for secret in ("", "x", key["secretValue"][:-1], key["secretValue"] + "x"):
        assert (await server.with_key(key["publicValue"], secret).get("projects")).status == 401


async def test_a_deactivated_key_stops_working_at_once(server: Server) -> None:
    admin = await server.admin()
    key = (await admin.post("apikeys")).json
    await server.settled("credential", key["id"])
    client = server.with_key(key["publicValue"], key["secretValue"])
    assert (await client.get("projects")).status == 200
    assert (await admin.post(f"apikeys/{key['id']}?action=deactivate")).status == 202
    assert (await client.get("projects")).status == 401
    await server.settled("credential", key["id"], "inactive")
    assert (await admin.post(f"apikeys/{key['id']}?action=activate")).status == 202
    await server.settled("credential", key["id"])
    assert (await client.get("projects")).status == 200
    await admin.post(f"apikeys/{key['id']}?action=deactivate")
    await server.settled("credential", key["id"], "inactive")
    assert (await admin.delete(f"apikeys/{key['id']}")).json["state"] == "removing"
    assert (await client.get("projects")).status == 401


async def test_an_administrator_may_choose_the_pair_but_not_take_one(server: Server) -> None:
    admin = await server.admin()
    pair = {"publicValue": "CHOSEN", "secretValue": "a chosen secret"}
    created = await admin.post("apikeys", pair)
    assert created.json["secretValue"] == "a chosen secret"
    await server.settled("credential", created.json["id"])
    assert (await server.with_key("CHOSEN", "a chosen secret").get("projects")).status == 200
    again = await admin.post("apikeys", pair)
    assert (again.status, again.json["code"]) == (422, "NotUnique")
    short = await admin.post("apikeys", {"secretValue": "short"})
    assert (short.status, short.json["fieldName"]) == (422, "secretValue")


async def test_a_restricted_member_cannot_make_a_key_that_may_do_more_than_he(server: Server) -> None:
    account_id = await server.person("rita")
    admin = await server.admin()
    members = {"members": [member("1", "owner"), member(account_id, "restricted")]}
    assert (await admin.post("projects/1a5?action=setmembers", members)).status == 200
    rita = await server.login("rita", "correct horse")
    assert (await rita.get(f"{PROJECT}/stacks")).status == 200
    assert (await rita.post(f"{PROJECT}/apikeys")).status == 403
    assert (await rita.post("/v2-beta/apikeys")).status == 201


async def test_only_administrators_make_keys_of_other_accounts(server: Server) -> None:
    await server.person("carl")
    carl = await server.login("carl", "correct horse")
    key = (await carl.post("apikeys", {"accountId": "1a1"})).json
    stored = await server.context.store.get("credential", int(key["id"][2:]))
    assert stored is not None
    assert stored.account_id != 1


async def test_hashes_of_rancher_are_understood(server: Server) -> None:
    changes = server.context.store.changes()
    hashed = "SHA256:0123456789abcdef0123:" + _sha256("0123456789abcdef0123" + "old secret")
    changes.insert(
        "credential",
        {"kind": "apiKey", "accountId": 1, "state": "active", "publicValue": "OLD", "secretValue": hashed},
    )
    await server.context.store.commit(changes)
    assert (await server.with_key("OLD", "old secret").get("projects")).status == 200
    assert (await server.with_key("OLD", hashed).get("projects")).status == 401


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_the_certificate_of_a_key_is_signed_by_the_server(server: Server) -> None:
    admin = await server.admin()
    key = (await admin.post("apikeys", {"name": "build/../server"})).json
    answer = await admin.get(f"apikeys/{key['id']}/certificate")
    assert answer.status == 200
    assert "/" not in answer.headers["content-disposition"].partition("filename=")[2]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        certificate = x509.load_pem_x509_certificate(archive.read("cert.pem"))
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(archive.read("ca.pem")))
    assert certificate.subject.rfc4514_string() == f"CN={key['publicValue']}"


async def test_verified_keys_cost_no_statement(server: Server) -> None:
    key = (await (await server.admin()).post(f"{PROJECT}/apikeys")).json
    await server.settled("credential", key["id"])
    client = server.with_key(key["publicValue"], key["secretValue"])
    await client.get("schemas/stack")
    before = server.context.store.database.statements
    for _ in range(5):
        assert (await client.get("schemas/stack")).status == 200
    assert server.context.store.database.statements == before


async def test_passwords_belong_to_people_and_logins_are_unique(server: Server) -> None:
    account_id = await server.person("dora")
    admin = await server.admin()
    taken = await admin.post("passwords", {"accountId": account_id, "publicValue": "DORA", "secretValue": "x"})
    assert (taken.status, taken.json["code"]) == (409, "UsernameIsTaken")
    same = await admin.post("passwords", {"accountId": account_id, "publicValue": "dora", "secretValue": "x"})
    assert (same.status, same.json["code"]) == (409, "UsernameIsTaken")
    nobody = await admin.post("passwords", {"accountId": "1a5", "publicValue": "p", "secretValue": "x"})
    assert (nobody.status, nobody.json["code"]) == (400, "UserCredentialCreation")
    inside = await admin.post(f"{PROJECT}/passwords", {"publicValue": "q", "secretValue": "x"})
    assert (inside.status, inside.json["code"]) == (400, "UserCredentialCreation")


async def test_a_password_is_changed_with_the_old_one_and_ends_other_sessions(server: Server) -> None:
    await server.person("emil")
    emil, elsewhere = await server.login("emil", "correct horse"), await server.login("emil", "correct horse")
    (password,) = (await emil.get("passwords")).json["data"]
    path = f"passwords/{password['id']}?action=changesecret"
    wrong = await emil.post(path, {"oldSecret": "wrong", "newSecret": "battery staple"})
    assert (wrong.status, wrong.json["code"]) == (400, "InvalidOldPassword")
    right = await emil.post(path, {"oldSecret": "correct horse", "newSecret": "battery staple"})
    assert right.status == 200
    assert b"battery staple" not in right.content
    assert (await emil.get("projects")).status == 200
    assert (await elsewhere.get("projects")).status == 401
    assert (await server.client().post("token", {"code": "emil:correct horse"})).status == 401
    await server.login("emil", "battery staple")


async def test_an_administrator_sets_a_password_without_the_old_one(server: Server) -> None:
    account_id = await server.person("fay")
    admin = await server.admin()
    (password,) = [each for each in (await admin.get("passwords")).json["data"] if each["accountId"] == account_id]
    body = {"oldSecret": "", "newSecret": "fresh start"}
    assert (await admin.post(f"passwords/{password['id']}?action=changesecret", body)).status == 200
    await server.login("fay", "fresh start")


async def test_a_removed_login_can_be_used_again(server: Server) -> None:
    account_id = await server.person("gus")
    admin = await server.admin()
    (password,) = [each for each in (await admin.get("passwords")).json["data"] if each["accountId"] == account_id]
    await admin.post(f"passwords/{password['id']}?action=deactivate")
    await server.settled("credential", password["id"], "inactive")
    assert (await admin.delete(f"passwords/{password['id']}")).status == 200
    await server.settled("credential", password["id"], "removed")
    again = await admin.post("passwords", {"accountId": account_id, "publicValue": "gus", "secretValue": "new one"})
    assert again.status == 201
