"""Query parameters as conditions: ``state_ne=removed``, ``name_like=web%``.

Only fields with a column can be filtered; any other parameter is ignored (Rancher 1.6; clients add parameters of
their own). All conditions are joined by AND, also several on one field.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from drover.common.clock import now_ms
from drover.server.api import conversion
from drover.server.api.call import Call, Query
from drover.server.api.errors import ApiError
from drover.server.api.grammar import parse_type
from drover.server.api.ids import parse_id
from drover.server.api.scope import Conditions, account_scope, kinds_of, stored_kind
from drover.server.resources import Schema
from drover.server.resources.tables import IDENTITY, column_fields
from drover.server.store import Condition

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "prefix", "like", "notlike", "null", "notnull"]

NOTHING = Condition("id", "eq", -1)


def filter_columns(schema: Schema) -> dict[str, str]:
    """The fields that can be filtered and sorted by -> their names in the table."""
    base = stored_kind(schema.stored_type or "")
    if not base:
        return {}
    columns = column_fields(base)
    return {
        name: schema.fields[name].stored_as
        for name in schema.filters
        if name in schema.fields and schema.fields[name].stored_as in columns
    }


def filters_of(schema: Schema, query: Query) -> dict[str, list[tuple[str, str]]]:
    """The filters given: field -> (modifier, text) pairs. Unknown fields and modifiers are left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    columns = filter_columns(schema)
    for parameter, texts in query.items():
        name, modifier = parameter, "eq"
        if name not in columns and "_" in name:
            name, _, modifier = parameter.rpartition("_")
        if name in columns and modifier in schema.filters[name]:
            found.setdefault(name, []).extend((modifier, text) for text in texts)
    return found


def conditions_of(call: Call, schema: Schema, given: dict[str, list[tuple[str, str]]]) -> Conditions:
    """The filters as conditions on stored fields. A value that cannot be one of the field's matches nothing."""
    conditions = []
    for name, pairs in given.items():
        declared = schema.fields[name]
        for modifier, text in pairs:
            op = cast(Operator, modifier)
            if op in ("null", "notnull"):
                conditions.append(Condition(declared.stored_as, op))
                continue
            value = _value(call, declared.type, name, text, op)
            conditions.append(NOTHING if value is None else Condition(declared.stored_as, op, value))
    return tuple(conditions)


def _value(call: Call, type_text: str, name: str, text: str, op: Operator) -> Any:
    kind = "reference" if name == "id" else parse_type(type_text).name
    if type_text == IDENTITY and op in ("eq", "ne"):
        found = parse_id(text)
        return found if isinstance(found, str) else None
    if type_text == IDENTITY:
        kind = "string"
    try:
        match kind:
            case "reference":
                found = parse_id(text, plain=call.plain_ids)
                return found if isinstance(found, int) else None
            case "int":
                return conversion.to_int(name, text)
            case "float":
                return conversion.to_float(name, text)
            case "boolean":
                return conversion.to_bool(name, text)
            case "date":
                return conversion.to_date(name, text)
        return conversion.to_text(name, text)
    except ApiError:
        return None


def default_scope(call: Call, schema: Schema, base_type: str) -> tuple[Conditions, tuple[Conditions, ...]]:
    """What every list is limited to: the caller's account, the kinds of the type, and rows that are not removed."""
    conditions, groups = account_scope(call, base_type)
    kinds = kinds_of(schema)
    if kinds is not None:
        kind = Condition("kind", "eq", kinds[0]) if len(kinds) == 1 else Condition("kind", "in", kinds)
        conditions = (*conditions, kind)
    if call.show_removed:
        return conditions, groups
    columns = call.store.types[base_type].columns
    if "removed" in columns:
        living = Condition("removed", "null")
        grace = call.context.settings.int("api.show.removed.for.seconds")
        if grace > 0:
            groups = (*groups, (living, Condition("removed", "gte", now_ms() - grace * 1000)))
        else:
            conditions = (*conditions, living)
    if "removeTime" in columns:
        groups = (*groups, (Condition("removeTime", "null"), Condition("removeTime", "gt", now_ms())))
    return conditions, groups
