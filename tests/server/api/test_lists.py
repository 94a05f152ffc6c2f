from __future__ import annotations

import pytest

from drover.server.orchestration.context import Context
from tests.server.api.client import ApiClient
from tests.server.api.conftest import PROJECT
from tests.server.conftest import ALL_DATABASES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_address", ALL_DATABASES, indirect=True)]

COUNT = 25


@pytest.fixture
async def containers(context: Context) -> int:
    """25 containers in the project, one in another account, one removed."""
    changes = context.store.changes()
    for number in range(COUNT):
        state = "running" if number % 2 else "stopped"
        values = {"kind": "container", "name": f"c{number:02}", "state": state, "created": 1_700_000_000_000 + number}
        changes.insert("instance", {**values, "accountId": PROJECT, "stackId": 1 if number < 3 else None})
    changes.insert("instance", {"kind": "container", "name": "foreign", "state": "running", "accountId": 1})
    changes.insert(
        "instance", {"kind": "container", "name": "gone", "state": "removed", "accountId": PROJECT, "removed": 1}
    )
    changes.insert("instance", {"kind": "virtualMachine", "name": "vm", "state": "running", "accountId": PROJECT})
    await context.store.commit(changes)
    return COUNT


async def names(client: ApiClient, **query: object) -> list[str]:
    answer = await client.get("containers", query=query)
    assert answer.status == 200, answer.json
    return [each["name"] for each in answer.json["data"]]


FILTERS: list[tuple[dict[str, object], list[str]]] = [
    ({"name": "c03"}, ["c03"]),
    ({"name_ne": "c03", "name_like": "c0%"}, ["c00", "c01", "c02", "c04", "c05", "c06", "c07", "c08", "c09"]),
    ({"name_prefix": "c2"}, ["c20", "c21", "c22", "c23", "c24"]),
    ({"name_notlike": "c%"}, ["vm"]),
    ({"name_null": ""}, []),
    ({"created_lt": "2023-11-14T22:13:20.002Z", "name_prefix": "c"}, ["c00", "c01"]),
    ({"created_gte": 1_700_000_000_023}, ["c23", "c24"]),
    ({"created_gt": 1_700_000_000_023}, ["c24"]),
    ({"stackId": "1st1", "state_ne": "running"}, ["c00", "c02"]),
    ({"stackId_notnull": "x"}, ["c00", "c01", "c02"]),
    ({"stackId": "nonsense"}, []),
    ({"state": ["running", "stopped"]}, []),
    ({"created_gte": 1_700_000_000_010, "created_lt": 1_700_000_000_012}, ["c10", "c11"]),
    ({"unknown": "x", "labels": "y", "name_bogus": "z", "name": "c01"}, ["c01"]),
    ({"removed_notnull": "true"}, []),
    ({"_removed": "true", "removed_notnull": "true"}, ["gone"]),
    ({"id": "1i1"}, ["c00"]),
    ({"id": "1x1"}, ["c00"]),
    ({"id": "1"}, []),
]


async def test_filters(containers: int, owner: ApiClient) -> None:
    for query, expected in FILTERS:
        assert await names(owner, **query) == expected, query


@pytest.mark.parametrize("query", [{}, {"sort": "name", "order": "desc"}, {"sort": "stackId"}, {"sort": "state"}])
async def test_pages_cover_every_row_once(containers: int, owner: ApiClient, query: dict[str, str]) -> None:
    everything = await names(owner, limit=-1, **query)
    assert len(everything) == COUNT + 1
    walked: list[str] = []
    answer = await owner.get("containers", query={"limit": 7, **query})
    while True:
        page = answer.json["pagination"]
        walked += [each["name"] for each in answer.json["data"]]
        assert page["partial"] is (page["next"] is not None)
        if not page["partial"]:
            assert page["total"] == COUNT + 1
            break
        answer = await owner.get(page["next"])
        assert answer.json["pagination"]["first"]
        assert answer.json["pagination"]["previous"]
    assert walked == everything


async def test_a_page_does_not_shift_when_rows_go(containers: int, owner: ApiClient, context: Context) -> None:
    first = (await owner.get("containers", query={"limit": 5})).json
    gone = await context.store.get("instance", 1)
    assert gone is not None
    changes = context.store.changes()
    changes.update(gone, {"removed": 1})
    await context.store.commit(changes)
    second = (await owner.get(first["pagination"]["next"])).json
    assert second["data"][0]["name"] == "c05"


async def test_offset_markers_of_older_clients(containers: int, owner: ApiClient) -> None:
    answer = (await owner.get("containers", query={"limit": 5, "marker": "m5"})).json
    assert [each["name"] for each in answer["data"]] == ["c05", "c06", "c07", "c08", "c09"]
    assert answer["pagination"]["previous"] == "http://drover.test/v2-beta/projects/1a5/containers?limit=5"


async def test_limits(containers: int, owner: ApiClient) -> None:
    for limit, used in (("", 100), ("0", 3000), ("-1", 3000), ("4000", 3000), ("x", 100), ("7", 7)):
        answer = await owner.get("containers", query={"limit": limit} if limit else {})
        assert answer.json["pagination"]["limit"] == used, limit


async def test_broken_markers_begin_at_the_start(containers: int, owner: ApiClient) -> None:
    for marker in ("k", "kAAAA", "m-1", "mx", "k" + "A" * 500, "m99999999999999"):
        answer = await owner.get("containers", query={"marker": marker, "limit": 1})
        assert answer.status == 200
        assert answer.json["data"][0]["name"] == "c00"


async def test_the_statements_of_a_list_do_not_grow_with_its_rows(
    containers: int, owner: ApiClient, context: Context
) -> None:
    await owner.get("containers")
    counts = []
    for limit in (1, 25):
        before = context.store.database.statements
        await owner.get("containers", query={"limit": limit, "include": "service"})
        counts.append(context.store.database.statements - before)
    assert counts[0] == counts[1] <= 6


async def test_the_envelope(containers: int, owner: ApiClient) -> None:
    body = (await owner.get("containers", query={"sort": "name", "state": "running"})).json
    assert list(body) == [
        "type", "resourceType", "links", "createTypes", "actions", "data", "sortLinks", "pagination", "sort",
        "filters", "createDefaults",
    ]  # fmt: skip
    url = "http://drover.test/v2-beta/projects/1a5/containers"
    assert body["links"] == {"self": url}
    assert body["sort"] == {"name": "name", "order": "asc", "reverse": f"{url}?sort=name&order=desc"}
    assert body["sortLinks"]["name"] == f"{url}?sort=name&order=desc"
    assert body["filters"]["state"] == [{"value": "running", "modifier": "eq"}]
    assert body["filters"]["name"] is None
    instances = (await owner.get("instances")).json
    assert "container" in instances["createTypes"]


async def test_scopes(containers: int, owner: ApiClient, admin: ApiClient) -> None:
    assert "foreign" not in await names(owner)
    assert "foreign" in await names(admin)
    assert (await owner.get(f"containers/1i{COUNT + 1}")).status == 404
    assert (await owner.get("containers/1i1")).json["name"] == "c00"
    assert (await owner.get("containers/1")).status == 404
    assert (await owner.get("containers/1", query={"_plainId": "true"})).json["id"] == "1"
    assert (await owner.get(f"containers/1i{COUNT + 2}")).json["state"] == "removed"
    assert (await owner.get("virtualmachines/1i1")).status == 404
    assert (await owner.get(f"containers/1i{COUNT + 3}")).json["type"] == "virtualMachine"
