from __future__ import annotations

import pytest

from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


async def test_a_client_finds_its_way_from_the_root(admin: ApiClient) -> None:
    root = await admin.get("/")
    assert [each["id"] for each in root.json["data"]] == ["v1", "v2-beta"]
    version = await admin.get(root.json["links"]["latest"])
    assert version.json["links"]["stacks"] == "http://drover.test/v2-beta/stacks"
    assert version.headers["x-api-schemas"] == "http://drover.test/v2-beta/schemas"


async def test_create_read_update_delete(owner: ApiClient) -> None:
    created = await owner.post("stacks", {"name": "web", "unheardOf": 1})
    assert created.status == 201, created.json
    stack = created.json
    assert stack["type"] == "stack"
    assert stack["id"].startswith("1st")
    assert stack["accountId"] == "1a5"
    assert list(stack)[:7] == ["id", "type", "links", "actions", "baseType", "name", "state"]
    read = await owner.get(stack["links"]["self"])
    assert read.json["name"] == "web"
    changed = await owner.put(stack["links"]["self"], {"description": "the shop"})
    assert (changed.status, changed.json["description"]) == (200, "the shop")
    listed = await owner.get("stacks", query={"name": "web"})
    assert [each["id"] for each in listed.json["data"]] == [stack["id"]]
    removed = await owner.delete(stack["links"]["self"])
    assert removed.status == 200
    assert removed.json["state"] in ("removing", "removed")
