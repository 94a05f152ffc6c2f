"""What holds for every declared type, whoever wrote its handlers."""

from __future__ import annotations

import pytest

from drover.server.resources import catalog, schemas
from tests.server.api.auth.conftest import PROJECT, Server

pytestmark = pytest.mark.anyio

# Logging in needs no login; everything else does.
OPEN_TYPES = frozenset({"token"})

ROLES = ("user", "owner", "member", "restricted", "readonly", "readAdmin", "project", "agent", "register", "token")
WRITES = ("POST", "PUT", "DELETE")
GRANTING_TYPES = (
    "account", "setting", "localAuthConfig", "azureadconfig", "openldapconfig", "processInstance", "task", "agent",
)  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v2-beta"])
async def test_without_credentials_every_type_answers_401(server: Server, version: str) -> None:
    client = server.client(f"/{version}")
    for name, resource in catalog(version).resources.items():
        if name in OPEN_TYPES:
            continue
        for method, path in (
            ("GET", resource.plural),
            ("POST", resource.plural),
            ("GET", f"{name}/1x1"),
            ("PUT", f"{name}/1x1"),
            ("DELETE", f"{name}/1x1"),
            ("POST", f"{name}/1x1?action=remove"),
            ("GET", f"projects/1a5/{resource.plural}"),
        ):
            answer = await client.request(method, path, body={"name": "x"} if method in WRITES else None)
            assert answer.status == 401, (method, path)
            assert "x-api-schemas" in answer.headers
            assert "x-api-account-id" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer " + "a" * 40},
        {"authorization": "Basic YWRtaW46YWRtaW4="},
        {"authorization": "Basic ???"},
        {"authorization": "Basic " + "A" * 20_000},
        {"authorization": "Basic OjpYWRtaW4="},
        {"cookie": "token=" + "a" * 40},
        {"X-API-Account-Id": "1a1", "X-API-User-Id": "1a1", "X-API-Roles": "admin"},
        {"X-Forwarded-User": "admin", "Remote-User": "admin", "X-API-AUTH-HEADER": "admin"},
        {"X-API-Client-Access-Key": "CHOSEN"},
        {"X-Forwarded-For": "127.0.0.1"},
    ],
)
async def test_claims_of_an_identity_are_not_believed(server: Server, headers: dict[str, str]) -> None:
    assert (await server.client().get("accounts", headers=headers)).status == 401


async def test_identity_headers_do_not_change_who_a_caller_is(server: Server) -> None:
    await server.person("olaf")
    olaf = await server.login("olaf", "correct horse")
    forged = {"X-API-Account-Id": "1a1", "X-API-User-Id": "1a1", "X-API-Account-Kind": "admin", "X-API-Roles": "admin"}
    answer = await olaf.get("accounts", headers=forged)
    assert answer.headers["x-api-account-kind"] == "user"
    assert [each["kind"] for each in answer.json["data"]] == ["user"]


@pytest.mark.parametrize("role", ROLES)
def test_no_role_but_administrators_writes_what_grants_rights(role: str) -> None:
    for name in GRANTING_TYPES:
        schema = schemas("v2-beta", role).get(name)
        if schema is None:
            continue
        assert not set(WRITES) & {*schema.collection_methods, *schema.resource_methods}, (role, name)


async def test_protection_is_switched_off_by_administrators_only(server: Server) -> None:
    await server.person("pia")
    pia = await server.login("pia", "correct horse")
    switch = {"enabled": False, "username": "x", "password": "x", "accessMode": "unrestricted"}
    for client in (pia, await server.login("pia", "correct horse", PROJECT)):
        assert (await client.post("localauthconfigs", switch)).status in (403, 404, 405)
        assert (await client.put("settings/api.security.enabled", {"value": "false"})).status in (403, 404, 405)
        assert (await client.post("settings", {"name": "api.security.enabled", "value": "false"})).status in (
            403,
            404,
            405,
        )
    inside = await server.admin(PROJECT)
    assert (await inside.post("localauthconfigs", switch)).status in (403, 404, 405)
    assert server.context.settings.bool("api.security.enabled")
    assert (await server.client().get("accounts")).status == 401


async def test_an_administrator_configures_local_login(server: Server) -> None:
    admin = await server.admin()
    body = {"enabled": True, "username": "root", "password": "new password", "accessMode": "unrestricted"}
    answer = await admin.post("localauthconfigs", body)
    assert answer.status == 201
    assert answer.json["password"] is None
    await server.login("root", "new password")
    old = await server.client().post("token", {"code": f"admin:{server.admin_password}"})
    assert old.status == 401
    wrong = await admin.post("localauthconfigs", {**body, "password": "guess"})
    assert (wrong.status, wrong.json["code"]) == (401, "IncorrectPassword")
    (shown,) = (await admin.get("localauthconfigs")).json["data"]
    assert (shown["enabled"], shown["password"]) == (True, None)


BROWSER = {"user-agent": "Mozilla/5.0"}


async def test_a_browser_must_show_that_our_page_made_the_request(server: Server) -> None:
    admin = await server.admin()
    first = await admin.get("projects", headers=BROWSER)
    cookie = first.headers["set-cookie"]
    assert "SameSite=Lax" in cookie
    key = (await server.client().post("token", {"code": f"admin:{server.admin_password}"})).json["jwt"]
    browser = server.client(**BROWSER)
    cookies = f"token={key}; CSRF=0123456789"
    for headers in ({}, {"X-API-CSRF": "9876543210"}, {"X-API-CSRF": ""}):
        answer = await browser.post("apikeys", headers={"cookie": cookies, **headers})
        assert (answer.status, answer.json["code"]) == (403, "InvalidCSRFToken")
    missing = await browser.post("apikeys", headers={"cookie": f"token={key}", "X-API-CSRF": ""})
    assert missing.status == 403
    right = await browser.post("apikeys", headers={"cookie": cookies, "X-API-CSRF": "0123456789"})
    assert right.status == 201
    assert (await admin.post("apikeys")).status == 201


async def test_restricted_members_leave_the_infrastructure_alone(server: Server) -> None:
    account_id = await server.person("quin")
    admin = await server.admin()
    members = [
        {"externalId": "1a1", "externalIdType": "rancher_id", "role": "owner"},
        {"externalId": account_id, "externalIdType": "rancher_id", "role": "restricted"},
    ]
    await admin.post("projects/1a5?action=setmembers", {"members": members})
    quin = await server.login("quin", "correct horse", PROJECT)
    changes = server.context.store.changes()
    base = {"accountId": 5, "state": "active", "system": True}
    made = {
        "stacks": changes.insert("stack", {**base, "kind": "stack", "name": "system"}),
        "services": changes.insert("service", {**base, "kind": "service", "name": "dns", "stackId": 1}),
        "containers": changes.insert("instance", {**base, "kind": "container", "name": "c", "state": "running"}),
        "hosts": changes.insert("host", {**base, "kind": "docker", "name": "h"}),
    }
    await server.context.store.commit(changes)
    for plural, record in made.items():
        path = f"{plural}/1x{record.id}"
        assert (await quin.get(path)).status == 200, plural
        assert (await quin.put(path, {"description": "mine"})).status in (403, 405), plural
        assert (await quin.delete(path)).status in (403, 405, 422), plural
        for action in ("remove", "deactivate", "stop"):
            assert (await quin.post(f"{path}?action={action}")).status in (403, 422), (plural, action)
        after = await server.context.store.get(record.type, record.id)
        assert after is not None
        assert after.state == record.state


async def test_preferences_are_ones_own(server: Server) -> None:
    await server.person("ray")
    ray, admin = await server.login("ray", "correct horse"), await server.admin()
    assert (await ray.post("userpreferences", {"name": "theme", "value": "dark"})).status == 201
    again = await ray.post("userpreferences", {"name": "theme", "value": "light"})
    assert (again.status, again.json["code"]) == (422, "NotUnique")
    assert (await admin.post("userpreferences", {"name": "theme", "value": "light"})).status == 201
    (own,) = (await ray.get("userpreferences", query={"all": "true"})).json["data"]
    assert own["value"] == "dark"
    assert len((await admin.get("userpreferences")).json["data"]) == 1
    assert len((await admin.get("userpreferences", query={"all": "true"})).json["data"]) == 2
    await server.settled("userPreference", own["id"])
    assert (await ray.put(f"userpreferences/{own['id']}", {"value": "blue"})).json["value"] == "blue"


async def test_a_laboratory_may_make_keys_of_the_super_administrator_and_nobody_else(server: Server) -> None:
    admin = await server.admin()
    body = {"accountId": "1a3", "publicValue": "super", "secretValue": "super secret"}
    assert (await admin.post("apikeys", body)).status == 403
    await server.set_setting("api.security.enabled", "false")
    anyone = server.client()
    assert (await anyone.post("accounts/1a3?action=activate")).status == 202
    await server.settled("account", "1a3")
    key = await anyone.post("apikeys", body)
    assert key.status == 201
    await server.settled("credential", key.json["id"])
    zones = await server.with_key("super", "super secret").get("zones")
    assert [each["name"] for each in zones.json["data"]] == ["zone1"]
