"""Lists: which rows, in what order, and the envelope around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drover.server.api.call import Call
from drover.server.api.extensions import Item
from drover.server.api.filters import conditions_of, default_scope, filter_columns, filters_of
from drover.server.api.include import embed
from drover.server.api.paging import Page, parse_page, seek
from drover.server.api.rendering import render_aligned, render_items
from drover.server.api.urls import with_query
from drover.server.resources import Schema
from drover.server.store import Condition, Query, Record

_PAGING = ("limit", "marker")


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of records and whether more follow."""

    records: list[Record]
    page: Page
    partial: bool


async def find_page(
    call: Call, schema: Schema, base_type: str, *, extra: Sequence[Condition] = (), default_limit: int = 100
) -> Listing:
    """The rows of a type that the caller asked for and may see. One statement."""
    page = parse_page(call, schema, default_limit=default_limit)
    conditions, groups = default_scope(call, schema, base_type)
    given = conditions_of(call, schema, filters_of(schema, call.query))
    seek_conditions, seek_groups = seek(page, call.store.database.dialect)
    found = await call.store.find(
        Query(
            base_type,
            (*conditions, *given, *extra, *seek_conditions),
            (*groups, *seek_groups),
            order=page.order,
            limit=page.limit + 1,
            offset=0 if page.after else page.offset,
        )
    )
    return Listing(found[: page.limit], page, len(found) > page.limit)


async def list_collection(
    call: Call, schema: Schema, base_type: str, url: str, *, extra: Sequence[Condition] = (), default_limit: int = 100
) -> dict[str, Any]:
    """The collection resource of a type, or of a child link when ``extra`` limits it."""
    listing = await find_page(call, schema, base_type, extra=extra, default_limit=default_limit)
    shown = await render_aligned(call, listing.records, in_list=True)
    await embed(call, schema, listing.records, shown)
    data = [each for each in shown if each is not None]
    return envelope(call, schema, url, data, pagination=_pagination(call, url, listing))


async def item_collection(call: Call, schema: Schema, url: str, items: Sequence[Item]) -> dict[str, Any]:
    """An unpaged collection of what an extension or a link found."""
    data = await render_items(call, items)
    return envelope(call, schema, url, data, pagination=None)


def envelope(
    call: Call, schema: Schema, url: str, data: list[dict[str, Any]], *, pagination: dict[str, Any] | None
) -> dict[str, Any]:
    page = parse_page(call, schema)
    return {
        "type": "collection",
        "resourceType": schema.id,
        "links": {"self": url},
        "createTypes": _create_types(call, schema),
        "actions": {},
        "data": data,
        "sortLinks": _sort_links(schema, url, page),
        "pagination": pagination,
        "sort": _sort(schema, url, page),
        "filters": _filters(call, schema),
        "createDefaults": {},
    }


def _create_types(call: Call, schema: Schema) -> dict[str, str]:
    if not schema.children:
        return {}
    creatable = (call.schemas.get(name) for name in (schema.id, *schema.children))
    return {
        each.id: call.urls.collection(each.plural)
        for each in creatable
        if each is not None and each.stored_type is not None and "POST" in each.collection_methods
    }


def _sort_name(schema: Schema, page: Page) -> str | None:
    return next((name for name, column in filter_columns(schema).items() if column == page.sort), None)


def _sort_links(schema: Schema, url: str, page: Page) -> dict[str, str]:
    current = _sort_name(schema, page)
    links = {}
    for name in filter_columns(schema):
        flipped = name == current and not page.descending
        links[name] = f"{url}?sort={name}&order=desc" if flipped else f"{url}?sort={name}"
    return links


def _sort(schema: Schema, url: str, page: Page) -> dict[str, Any] | None:
    name = _sort_name(schema, page)
    if name is None:
        return None
    reverse = "asc" if page.descending else "desc"
    return {
        "name": name,
        "order": "desc" if page.descending else "asc",
        "reverse": f"{url}?sort={name}&order={reverse}",
    }


def _filters(call: Call, schema: Schema) -> dict[str, Any]:
    given = filters_of(schema, call.query)
    return {
        name: [{"value": text, "modifier": modifier} for modifier, text in given[name]] if name in given else None
        for name in schema.filters
    }


def _pagination(call: Call, url: str, listing: Listing) -> dict[str, Any]:
    page = listing.page
    kept = [(name, text) for name, texts in call.query.items() if name not in _PAGING for text in texts]
    limited = [*kept, ("limit", str(page.limit))]
    previous = None
    if page.marked:
        before = page.offset - page.limit
        previous = with_query(url, [*limited, ("marker", f"m{before}")] if before > 0 else limited)
    following = None
    if listing.partial:
        following = with_query(url, [*limited, ("marker", page.marker_after(listing.records[-1]))])
    return {
        "first": with_query(url, limited) if page.marked else None,
        "previous": previous,
        "next": following,
        "limit": page.limit,
        # Known without counting once the last page is reached; counting the others would cost a scan.
        "total": None if listing.partial else page.offset + len(listing.records),
        "partial": listing.partial,
    }
