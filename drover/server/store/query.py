"""Conditions over column fields, as the API's filters and our own look-ups state them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from drover.server.store.errors import StoreError
from drover.server.store.mapping import TypeMap

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "prefix", "like", "notlike", "null", "notnull", "in", "notin"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a column field. ``value`` is a sequence for ``in`` and ``notin``, unused for ``null``."""

    field: str
    op: Operator = "eq"
    value: Any = None


@dataclass(frozen=True, slots=True)
class Query:
    """Rows of one type that meet all conditions, and at least one of each group of ``any_of``.

    ``order`` names column fields, a leading ``-`` meaning descending; the id always decides ties.
    """

    type: str
    conditions: tuple[Condition, ...] = ()
    any_of: tuple[tuple[Condition, ...], ...] = ()
    order: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0
    after_id: int | None = field(default=None)


def clause(types: TypeMap, condition: Condition) -> sa.ColumnElement[bool]:
    """The SQL for one condition."""
    name = types.columns.get(condition.field)
    if name is None:
        raise StoreError(f"{types.name}.{condition.field} has no column and cannot be searched")
    return _compare(types.table.c[name], condition.op, condition.value)


def _compare(column: sa.Column[Any], op: Operator, value: Any) -> sa.ColumnElement[bool]:
    match op:
        case "eq":
            return column.is_(None) if value is None else column == value
        case "ne":
            return column.is_not(None) if value is None else sa.or_(column != value, column.is_(None))
        case "lt":
            return sa.and_(column < value)
        case "lte":
            return sa.and_(column <= value)
        case "gt":
            return sa.and_(column > value)
        case "gte":
            return sa.and_(column >= value)
        case "prefix":
            return column.startswith(str(value), autoescape=True)
        case "like":
            return column.like(str(value))
        case "notlike":
            return sa.or_(column.not_like(str(value)), column.is_(None))
        case "null":
            return column.is_(None)
        case "notnull":
            return column.is_not(None)
        case "in":
            return column.in_(list(value))
        case "notin":
            return column.not_in(list(value))


def where(types: TypeMap, query: Query) -> list[sa.ColumnElement[bool]]:
    clauses = [clause(types, condition) for condition in query.conditions]
    clauses.extend(sa.or_(*(clause(types, each) for each in group)) for group in query.any_of)
    if query.after_id is not None:
        clauses.append(types.table.c.id > query.after_id)
    return clauses


def select(types: TypeMap, query: Query) -> sa.Select[tuple[Any, ...]]:
    statement = sa.select(types.table).where(*where(types, query))
    for name in query.order:
        column = types.table.c[types.columns[name.removeprefix("-")]]
        statement = statement.order_by(column.desc() if name.startswith("-") else column)
    if "id" not in query.order and "-id" not in query.order:
        statement = statement.order_by(types.table.c.id)
    if query.limit is not None:
        statement = statement.limit(query.limit)
    if query.offset:
        statement = statement.offset(query.offset)
    return statement
