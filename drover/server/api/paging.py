"""Pages of a list.

``limit`` and ``marker=m<offset>`` work as in Rancher 1.6. The links between pages, however, carry an opaque marker
that names the last row shown, so that rows which come or go meanwhile neither shift a page nor slow down a late one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from drover.server.api.call import Call
from drover.server.api.filters import filter_columns
from drover.server.resources import Schema
from drover.server.store import Condition, Record

DEFAULT_LIMIT = 100
MAX_LIMIT = 3000

_LARGEST_OFFSET = 10**9


class _Position(msgspec.Struct, array_like=True):
    """Where a page begins: after the row with this sort value and id; ``offset`` serves the link to the page before."""

    offset: int
    row_id: int
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a list is wanted."""

    limit: int
    offset: int
    sort: str | None  # a field with a column
    descending: bool
    after: _Position | None = None
    marked: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        sign = "-" if self.descending else ""
        if self.sort is None or self.sort == "id":
            return (f"{sign}id",)
        return (f"{sign}{self.sort}", f"{sign}id")

    def marker_after(self, record: Record) -> str:
        value = None if self.sort in (None, "id") else record[str(self.sort)]
        position = _Position(self.offset + self.limit, record.id, value)
        return "k" + base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def parse_page(call: Call, schema: Schema, *, default_limit: int = DEFAULT_LIMIT) -> Page:
    limit = _limit(call, default_limit)
    name = call.query.get("sort", ("",))[0]
    sort = filter_columns(schema).get(name)
    descending = call.query.get("order", ("",))[0].lower() == "desc"
    marker = call.query.get("marker", ("",))[0]
    after = _parse_marker(marker)
    if after is not None:
        return Page(limit, after.offset, sort, descending, after, marked=True)
    digits = marker.removeprefix("m")
    offset = int(digits) if marker.startswith("m") and digits.isascii() and digits.isdigit() and len(digits) < 10 else 0
    return Page(limit, min(offset, _LARGEST_OFFSET), sort, descending, marked=bool(offset))


def _limit(call: Call, default: int) -> int:
    text = call.query.get("limit", ("",))[0]
    try:
        limit = int(text) if len(text) <= 12 else 0
    except ValueError:
        return default
    return limit if 0 < limit <= MAX_LIMIT else MAX_LIMIT


def _parse_marker(text: str) -> _Position | None:
    if not text.startswith("k"):
        return None
    try:
        padded = text[1:] + "=" * (-len(text[1:]) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Position)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None


def seek(page: Page, dialect: str) -> tuple[tuple[Condition, ...], tuple[tuple[Condition, ...], ...]]:
    """Conditions for the rows after ``page.after``, in the page's order.

    Nulls come first in ascending order on SQLite and MariaDB, last on PostgreSQL.
    """
    after = page.after
    if after is None:
        return (), ()
    later_id = Condition("id", "lt" if page.descending else "gt", after.row_id)
    if page.sort is None or page.sort == "id":
        return (later_id,), ()
    nulls_first = (dialect != "postgresql") != page.descending
    null = Condition(page.sort, "null")
    if after.value is None:
        return ((), ((Condition(page.sort, "notnull"), later_id),)) if nulls_first else ((null, later_id), ())
    return _seek_value(page, after.value, later_id, () if nulls_first else (null,))


def _seek_value(
    page: Page, value: Any, later_id: Condition, nulls_follow: tuple[Condition, ...]
) -> tuple[tuple[Condition, ...], tuple[tuple[Condition, ...], ...]]:
    """``value or later``, and of those with the same value the later ids."""
    name = str(page.sort)
    beyond = Condition(name, "lt" if page.descending else "gt", value)
    from_here = Condition(name, "lte" if page.descending else "gte", value)
    return (), ((from_here, *nulls_follow), (beyond, later_id, *nulls_follow))
