"""Settings, the audit log, processes, preferences, headers and addresses."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from starlette.applications import Starlette

from drover.server.orchestration.context import Context
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


async def test_settings_are_layers(admin: ApiClient, context: Context) -> None:
    before = (await admin.get("settings/api.host")).json
    assert (before["id"], before["type"], before["baseType"]) == ("api.host", "activeSetting", "setting")
    assert (before["inDb"], before["source"]) == (False, "Code Packaged Defaults")
    changed = await admin.put("settings/api.host", {"value": "https://drover.example"})
    assert changed.status == 200, changed.json
    assert (changed.json["activeValue"], changed.json["source"]) == ("https://drover.example", "Database")
    assert context.settings.get("api.host") == "https://drover.example"
    assert (await admin.delete("settings/api.host")).json["inDb"] is False
    created = await admin.post("settings", {"name": "my.own", "value": "1"})
    assert (created.status, created.json["value"]) == (201, "1")
    assert (await admin.get("settings/never.heard")).status == 404
    everything = {each["id"] for each in (await admin.get("settings")).json["data"]}
    public = {each["id"] for each in (await admin.get("settings", query={"all": "false"})).json["data"]}
    assert "my.own" in everything
    assert public < everything
    assert "my.own" not in public


async def test_two_writers_of_one_setting(admin: ApiClient) -> None:
    answers = await asyncio.gather(*(admin.put("settings/my.own", {"value": str(n)}) for n in range(4)))
    assert {each.status for each in answers} <= {200, 409}
    found = [each for each in (await admin.get("settings")).json["data"] if each["id"] == "my.own"]
    assert len(found) == 1


async def test_every_write_leaves_an_audit_row_without_secrets(
    app: Starlette, owner: ApiClient, admin: ApiClient, tmp_path: Path
) -> None:
    planted = "Planted-Secret-7781"
    registry = (await owner.post("registries", {"serverAddress": "quay.io"})).json["id"]
    credential = {"registryId": registry, "publicValue": "me", "secretValue": planted, "email": "a@b"}
    made = await owner.post("registrycredentials", credential)
    assert made.status == 201, made.json
    assert planted not in made.content.decode()
    await owner.post("stacks", {"name": "-"})
    await owner.post("stacks/1st99", query={"action": "remove"})
    await app.state.audit.stop()
    rows = (await admin.get("auditlogs", query={"sort": "id", "order": "desc"})).json["data"]
    events = [(each["eventType"], each["responseCode"]) for each in rows]
    assert ("api.registryCredential.create", 201) in events
    assert ("api.stack.create", 422) in events
    assert all(each["accountId"] == "1a5" for each in rows)
    assert planted not in json.dumps(rows)
    stored = next(each for each in rows if each["eventType"] == "api.registryCredential.create")
    assert json.loads(stored["requestObject"])["publicValue"] == "me"
    assert stored["resourceId"] == made.json["id"]
    assert stored["authType"] == "AdminAuth"
    database = b"".join(each.read_bytes() for each in tmp_path.glob("drover.db*"))
    assert planted.encode() not in database


async def test_preferences_are_unique(admin: ApiClient) -> None:
    made = await admin.post("userpreferences", {"name": "theme", "value": '"dark"'})
    assert made.status == 201, made.json
    again = await admin.post("userpreferences", {"name": "theme", "value": '"light"'})
    assert (again.status, again.json["code"], again.json["fieldName"]) == (422, "NotUnique", "name")
    changed = await admin.put(made.json["links"]["self"], {"value": '"light"'})
    assert (changed.status, changed.json["value"]) == (200, '"light"')


async def test_a_process_tells_its_story(owner: ApiClient, admin: ApiClient, context: Context) -> None:
    stack = (await owner.post("stacks", {"name": "shop"})).json
    number = int(stack["id"][3:])
    await context.watch.until("stack", number, lambda row: row is not None and row.state == "active", timeout=60)
    found = (await admin.get("processinstances", query={"processName": "stack.create"})).json["data"]
    process = next(each for each in found if each["resourceId"] == stack["id"])
    assert (process["result"], process["exitReason"]) == ("SUCCESS", "DONE")
    resource = await admin.get(f"{process['links']['self']}/resource")
    assert resource.json["id"] == stack["id"]
    runs = (await admin.get(process["links"]["processExecutions"])).json
    assert runs["resourceType"] == "processExecution"
    assert len(runs["data"]) == 1
    definition = (await admin.get("processdefinitions/1pd!stack.create")).json
    assert definition["stateTransitions"][0]["fromState"] == "requested"
    assert (await owner.get("processinstances")).status == 404


async def test_headers_of_every_answer(owner: ApiClient, admin: ApiClient) -> None:
    for answer in (await owner.get("stacks"), await owner.get("stacks/1st99"), await owner.post("stacks", {})):
        assert answer.headers["x-api-schemas"] == "http://drover.test/v2-beta/projects/1a5/schemas"
        assert answer.headers["x-api-account-id"] == "1a5"
        assert answer.headers["x-api-user-id"] == "1a1"
        assert answer.headers["x-api-client-ip"] == "192.0.2.7"
        assert answer.headers["x-rancher-version"].startswith("v1.6")
    assert (await admin.get("stacks")).headers["x-api-account-id"] == "1a1"
    packed = await owner.get("schemas", headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"


FORWARDED = [
    ({}, "http://drover.test"),
    ({"x-forwarded-proto": "https"}, "https://drover.test"),
    ({"x-forwarded-proto": "https", "x-forwarded-port": "443"}, "https://drover.test"),
    ({"x-forwarded-proto": "https", "x-forwarded-port": "8443"}, "https://drover.test:8443"),
    ({"x-forwarded-proto": "https,http", "x-forwarded-host": "a.example:81, b"}, "https://a.example:81"),
    ({"x-forwarded-proto": "javascript"}, "http://drover.test"),
    ({"x-forwarded-proto": "https", "x-forwarded-host": 'e"vil/'}, "https://drover.test"),
]


async def test_forwarded_headers_count_from_trusted_proxies_only(app: Starlette) -> None:
    for headers, base in FORWARDED:
        trusted = ApiClient(app, "/v2-beta", headers, peer="198.51.100.4")
        assert (await trusted.get("stacks")).json["links"]["self"] == f"{base}/v2-beta/stacks", headers
        stranger = ApiClient(app, "/v2-beta", headers, peer="203.0.113.9")
        assert (await stranger.get("stacks")).json["links"]["self"] == "http://drover.test/v2-beta/stacks", headers


async def test_client_address(app: Starlette) -> None:
    headers = {"x-forwarded-for": "203.0.113.77:5555, 198.51.100.4"}
    trusted = ApiClient(app, "/v2-beta", headers, peer="198.51.100.4")
    assert (await trusted.get("stacks")).headers["x-api-client-ip"] == "203.0.113.77"
    stranger = ApiClient(app, "/v2-beta", headers)
    assert (await stranger.get("stacks")).headers["x-api-client-ip"] == "192.0.2.7"


async def test_paths(owner: ApiClient, admin: ApiClient) -> None:
    for path in (
        "/v2-beta/projects/1a5/stacks/",
        "/v2-beta//projects/1a5//stack",
        "/v2-beta/project/1a5/STACKS",
        "/v9/projects/1a5/stacks",
    ):
        answer = await admin.get(path)
        assert (answer.status, answer.json["resourceType"]) == (200, "stack"), path
    assert (await admin.get("/somewhere")).status == 404
    assert (await admin.get("/ping")).content == b"pong"
    for path in ("/healthz", "/healthcheck", "/metrics"):
        assert (await admin.get(path)).status == 200
    shown = await owner.get("stacks", headers={"x-api-action-links": "true"})
    assert shown.status == 200


async def test_action_links_take_the_place_of_actions(owner: ApiClient) -> None:
    await owner.post("stacks", {"name": "shop"})
    shown = (await owner.get("stacks", headers={"x-api-action-links": "true"})).json["data"][0]
    assert "actions" not in shown
    assert "addoutputs" in shown["actionLinks"]


async def test_the_audit_log_names_the_person(app: Starlette, admin: ApiClient, context: Context) -> None:
    changes = context.store.changes()
    changes.insert(
        "auditLog", {"kind": "auditLog", "accountId": 1, "authenticatedAsIdentityId": "github_user:12", "created": 1}
    )
    await context.store.commit(changes)
    person = "1i!github_user:12"
    found = (await admin.get("auditlogs", query={"authenticatedAsIdentityId": person})).json["data"]
    assert [each["authenticatedAsIdentityId"] for each in found] == [person]
    none = await admin.get("auditlogs", query={"authenticatedAsIdentityId": "1i!github_user:13"})
    assert none.json["data"] == []
