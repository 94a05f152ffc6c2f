"""Every declared type, in both versions, answers every method without a server error."""

from __future__ import annotations

import pytest

from drover.server.resources import schemas
from tests.server.api.client import ApiClient

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", ["v1", "v2-beta"])
@pytest.mark.parametrize("prefix", ["", "/projects/1a5"])
async def test_every_listable_type_lists(app: object, admin: ApiClient, version: str, prefix: str) -> None:
    root = await admin.get(f"/{version}{prefix}")
    assert root.status == 200
    links = {name: url for name, url in (await admin.get(f"/{version}")).json["links"].items() if name != "self"}
    assert len(links) > 50
    for name in links:
        answer = await admin.get(f"/{version}{prefix}/{name.lower()}")
        if answer.status == 404 and prefix:
            continue  # a type that members of an environment do not see
        assert answer.status == 200, (name, answer.json)
        assert answer.json["type"] == "collection"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2-beta"])
@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"name": 5, "accountId": "1a5"}])
async def test_every_type_answers_a_post_and_unknown_ids(
    admin: ApiClient, version: str, body: dict[str, object]
) -> None:
    for role, prefix in (("owner", "/projects/1a5"), ("admin", "")):
        for schema in schemas(version, role):
            url = f"/{version}{prefix}/{schema.plural}"
            answer = await admin.post(url, body)
            assert answer.status < 500, (url, answer.json)
            if answer.status == 201:
                read = await admin.get(answer.json["links"].get("self", url))
                assert read.status in (200, 404, 405), (url, read.json)
            for method in ("GET", "PUT", "DELETE", "POST"):
                single = await admin.request(method, f"{url}/1x987654", body={})
                assert 400 <= single.status < 500 or method == "GET", (method, url, single.json)
                assert single.status < 500, (method, url, single.json)
