"""Plans, guards, claims and reads, on each of the three databases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from drover.server.store import (
    ClaimTaken,
    Condition,
    GuardFailed,
    Query,
    Record,
    RowMissing,
    Store,
    Touched,
)
from tests.server.conftest import ALL_DATABASES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_address", ALL_DATABASES, indirect=True)]


async def insert_stack(store: Store, name: str, **values: object) -> Record:
    changes = store.changes()
    record = changes.insert("stack", {"name": name, "state": "active", "accountId": 5, **values})
    await store.commit(changes)
    return record


async def test_fields_come_back_as_they_were_stored(store: Store) -> None:
    given = {
        "name": "grüße-🐂",
        "accountId": 5,
        "created": 1_700_000_000_123,
        "system": True,
        "environment": {"A": "ä", "B": None, "n": [1, 2.5, {"x": False}]},
        "dockerCompose": "x" * 100_000,
    }
    record = await insert_stack(store, **given)  # type: ignore[arg-type]
    found = await store.get("stack", record.id)
    assert found is not None
    assert {name: found[name] for name in given} == given
    assert found["removed"] is None


async def test_json_fields_written_by_two_plans_are_merged(store: Store) -> None:
    record = await insert_stack(store, "s", outputs={"a": "1"})

    async def write(field: str, value: object) -> None:
        changes = store.changes()
        changes.update(record, {field: value})
        await store.commit(changes)

    await asyncio.gather(write("outputs", {"b": "2"}), write("environment", {"c": "3"}), write("name", "t"))
    found = await store.get("stack", record.id)
    assert found is not None
    assert (found["outputs"], found["environment"], found.name) == ({"b": "2"}, {"c": "3"}, "t")


async def test_a_failed_guard_refuses_its_plan_alone(store: Store) -> None:
    records = [await insert_stack(store, f"s{i}") for i in range(3)]

    async def move(record: Record, expected: str) -> None:
        changes = store.changes()
        changes.guard(record, state=expected)
        changes.update(record, {"state": "removing"})
        changes.insert("stack", {"name": f"from-{record.id}", "accountId": 6})
        await store.commit(changes)

    results = await asyncio.gather(
        move(records[0], "active"), move(records[1], "error"), move(records[2], "active"), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), GuardFailed, type(None)]
    assert len(await store.find_by("stack", accountId=6)) == 2


async def test_of_two_plans_for_one_row_the_first_wins(store: Store) -> None:
    record = await insert_stack(store, "s")

    async def take(name: str) -> None:
        changes = store.changes()
        changes.guard(record, state="active")
        changes.update(record, {"state": "removing", "description": name})
        await store.commit(changes)

    results = await asyncio.gather(*(take(str(i)) for i in range(10)), return_exceptions=True)
    assert sum(result is None for result in results) == 1


async def test_a_claim_is_held_once_and_free_again_after_release(store: Store) -> None:
    first, second = await insert_stack(store, "a"), await insert_stack(store, "b")

    async def claim(owner: Record) -> None:
        changes = store.changes()
        changes.claim("name:5:web", owner)
        await store.commit(changes)

    await claim(first)
    await claim(first)  # holding it already is fine
    with pytest.raises(ClaimTaken) as refusal:
        await claim(second)
    assert (refusal.value.owner_type, refusal.value.owner_id) == ("stack", first.id)
    changes = store.changes()
    changes.release_all(first)
    await store.commit(changes)
    await claim(second)


async def test_claims_differ_by_case(store: Store) -> None:
    first, second = await insert_stack(store, "a"), await insert_stack(store, "b")
    changes = store.changes()
    changes.claim("Key", first)
    changes.claim("key", second)
    await store.commit(changes)


async def test_many_tasks_claiming_one_key_leave_one_winner(store: Store) -> None:
    owners = [await insert_stack(store, f"s{i}") for i in range(8)]

    async def claim(owner: Record) -> None:
        changes = store.changes()
        changes.claim("port:1:tcp:80", owner)
        await store.commit(changes)

    results = await asyncio.gather(*(claim(owner) for owner in owners), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert all(result is None or isinstance(result, ClaimTaken) for result in results)


async def test_a_missing_row_is_reported(store: Store) -> None:
    changes = store.changes()
    changes.update(Record("stack", 999_999, {}), {"name": "x"})
    with pytest.raises(RowMissing):
        await store.commit(changes)


async def test_purging_deletes_the_row(store: Store) -> None:
    record = await insert_stack(store, "s")
    changes = store.changes()
    changes.delete(record)
    await store.commit(changes)
    assert await store.get("stack", record.id) is None


async def test_the_text_that_a_column_cannot_hold_fails_alone(store: Store) -> None:
    """SQLite takes any length; the others refuse, and must refuse only the plan that brought it."""

    async def insert(name: str) -> None:
        await insert_stack(store, name)

    results = await asyncio.gather(insert("ok-1"), insert("x" * 5000), insert("ok-2"), return_exceptions=True)
    assert results[0] is None
    assert results[2] is None
    assert (results[1] is None) == store.database.exclusive


async def test_listeners_hear_commits_in_order(store: Store) -> None:
    heard: list[Touched] = []

    def listen(touched: Sequence[Touched]) -> None:
        heard.extend(touched)

    store.listen(listen)
    record = await insert_stack(store, "s")
    changes = store.changes()
    changes.update(record, {"state": "removing"})
    await store.commit(changes)
    assert [(row.type, row.before and row.before.state, row.after and row.after.state) for row in heard] == [
        ("stack", None, "active"),
        ("stack", "active", "removing"),
    ]


async def test_conditions(store: Store) -> None:
    for name, description in (("a", "one"), ("b", None), ("ba", "50%_x")):
        await insert_stack(store, name, description=description)

    async def names(*conditions: Condition) -> list[str | None]:
        found = await store.find(Query("stack", (Condition("accountId", "eq", 5), *conditions), order=("name",)))
        return [record.name for record in found]

    assert await names(Condition("name", "prefix", "b")) == ["b", "ba"]
    assert await names(Condition("name", "in", ["a", "ba"])) == ["a", "ba"]
    assert await names(Condition("name", "notin", ["a", "ba"])) == ["b"]
    assert await names(Condition("description", "null")) == ["b"]
    assert await names(Condition("description", "notnull")) == ["a", "ba"]
    assert await names(Condition("description", "prefix", "50%_")) == ["ba"]
    assert await names(Condition("description", "like", "%n%")) == ["a"]
    assert await names(Condition("id", "gt", 0), Condition("name", "ne", "a")) == ["b", "ba"]


async def test_lookups_of_one_tick_share_a_statement(store: Store) -> None:
    records = [await insert_stack(store, f"s{i}") for i in range(20)]
    before = store.database.statements
    found = await asyncio.gather(*(store.get("stack", record.id) for record in records))
    assert [each.name for each in found if each is not None] == [record.name for record in records]
    assert store.database.statements - before == 1


async def test_a_thousand_rows_cost_a_handful_of_statements(store: Store) -> None:
    await store.ensure_ids("stack", 1000)
    before = store.database.statements
    changes = store.changes()
    for number in range(1000):
        changes.insert("stack", {"name": f"s{number}", "accountId": 5})
    await store.commit(changes)
    assert store.database.statements - before <= 8  # the rows, and the next block of ids


async def test_ids_go_on_after_a_restart(store: Store) -> None:
    first = await insert_stack(store, "a")
    await store.ensure_ids("stack", 5000)
    second = await insert_stack(store, "b")
    assert second.id == first.id + 1
