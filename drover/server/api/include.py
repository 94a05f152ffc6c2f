"""Related resources: the rows behind a link, for one resource or for all of a page at once.

However many resources are on the page, a link costs one statement, or two where a join table lies between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drover.server.api.call import Call
from drover.server.api.rendering import render_aligned
from drover.server.api.scope import may_see, stored_kind
from drover.server.resources import Link, Schema, catalog
from drover.server.store import Condition, Query, Record

_MOST_INCLUDES = 5
_MOST_ROWS = 3000


async def embed(call: Call, schema: Schema, records: Sequence[Record], shown: Sequence[dict[str, Any] | None]) -> None:
    """Honour ``include=<link>``: put the related resources into those shown, under the link's name."""
    wanted = [name for text in call.query.get("include", ()) for name in text.split(",")][:_MOST_INCLUDES]
    if not wanted or not records:
        return
    for name in dict.fromkeys(wanted):
        link = schema.links.get(name)
        if link is None:
            continue
        related = await related_records(call, link, records)
        unique = list({record.key: record for group in related.values() for record in group}.values())
        rendered = dict(zip((each.key for each in unique), await render_aligned(call, unique), strict=True))
        for resource, record in zip(shown, records, strict=True):
            if resource is None:
                continue
            found = [rendered[each.key] for each in related.get(record.id, ()) if rendered[each.key] is not None]
            resource[name] = (found[0] if found else None) if link.kind == "reference" else found


async def related_records(call: Call, link: Link, records: Sequence[Record]) -> dict[int, list[Record]]:
    """The visible, not removed rows behind a link, by the id of the row that links to them."""
    target = stored_base(link.type)
    if target is None or not records:
        return {}
    match link.kind:
        case "reference":
            return await _referenced(call, str(link.field), target, records)
        case "child":
            return await _children(call, str(link.field), target, records)
    return await _mapped(call, link, target, records)


def stored_base(type_name: str) -> str | None:
    resource = catalog().resources.get(stored_kind(type_name))
    return catalog().stored_base(resource.name) if resource is not None and resource.stored else None


async def _referenced(call: Call, name: str, target: str, records: Sequence[Record]) -> dict[int, list[Record]]:
    name = {"environmentId": "stackId"}.get(name, name)
    wanted = {record.id: record[name] for record in records if isinstance(record[name], int)}
    found = await call.store.get_many(target, list(wanted.values())) if wanted else {}
    return {
        row_id: [found[other]] for row_id, other in wanted.items() if other in found and may_see(call, found[other])
    }


async def _children(call: Call, name: str, target: str, records: Sequence[Record]) -> dict[int, list[Record]]:
    name = {"environmentId": "stackId"}.get(name, name)
    return await _by_field(call, target, name, {record.id: record.id for record in records})


async def _mapped(call: Call, link: Link, target: str, records: Sequence[Record]) -> dict[int, list[Record]]:
    if link.path is not None:
        ours, theirs = link.path
        return await _by_field(call, target, theirs, {record.id: record[ours] for record in records})
    join = stored_base(link.via) if link.via else None
    if join is None:
        return {}
    columns = call.store.types[join].columns
    ours, theirs = f"{records[0].type}Id", f"{target}Id"
    if ours not in columns or theirs not in columns:
        return {}
    rows = await _living(call, join, Condition(ours, "in", [record.id for record in records]))
    found = await call.store.get_many(target, [row[theirs] for row in rows if row[theirs] is not None])
    grouped: dict[int, list[Record]] = {}
    for row in rows:
        other = found.get(row[theirs])
        if other is not None and may_see(call, other) and (call.show_removed or other["removed"] is None):
            grouped.setdefault(row[ours], []).append(other)
    return grouped


async def _by_field(call: Call, target: str, name: str, values: Mapping[int, Any]) -> dict[int, list[Record]]:
    """Rows of ``target`` whose field has one of the values, grouped by the id that wants the value."""
    wanted = {value for value in values.values() if value is not None}
    if name not in call.store.types[target].columns or not wanted:
        return {}
    rows = await _living(call, target, Condition(name, "in", sorted(wanted)))
    by_value: dict[Any, list[Record]] = {}
    for row in rows:
        if may_see(call, row):
            by_value.setdefault(row[name], []).append(row)
    return {row_id: by_value[value] for row_id, value in values.items() if value in by_value}


async def _living(call: Call, type_name: str, condition: Condition) -> list[Record]:
    conditions = [condition]
    if not call.show_removed and "removed" in call.store.types[type_name].columns:
        conditions.append(Condition("removed", "null"))
    return await call.store.find(Query(type_name, tuple(conditions), limit=_MOST_ROWS))


def link_condition(call: Call, link: Link, base: str | None, record: Record) -> Condition | None:
    """The condition that makes a link an ordinary list of the other type, if one can."""
    if base is None:
        return None
    columns = call.store.types[base].columns
    if link.kind == "child":
        name = {"environmentId": "stackId"}.get(str(link.field), str(link.field))
        return Condition(name, "eq", record.id) if name in columns else None
    if link.kind == "map" and link.path is not None and link.path[1] in columns:
        value = record[link.path[0]]
        return Condition(link.path[1], "eq", -1 if value is None else value)
    return None
