"""A client's fields against the schema of its role: converted, checked, completed by defaults.

One function serves creates, updates, the inputs of actions and embedded objects. Unknown and read-only fields are
dropped without a word (Rancher 1.6; older clients send whole resources back).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from drover.server.api import conversion
from drover.server.api.call import Call
from drover.server.api.errors import invalid
from drover.server.api.grammar import FieldType, parse_type
from drover.server.api.ids import parse_id
from drover.server.api.scope import load_visible, stored_kind
from drover.server.resources import Schema, SchemaField, catalog
from drover.server.resources.tables import COLUMN_LENGTH

Mode = Literal["create", "update"]

_DEPTH = 24


@dataclass(slots=True)
class _Reference:
    """A reference found in a body, to be looked up together with the others."""

    target: str
    row_id: int
    field_name: str


@dataclass(slots=True)
class _Validator:
    call: Call
    references: list[_Reference] = field(default_factory=list)

    def values(self, schema: Schema, body: Mapping[str, Any], mode: Mode, depth: int = 0) -> dict[str, Any]:
        if depth > _DEPTH:
            raise invalid("InvalidFormat", schema.id, f"{schema.id} is nested too deeply; use at most {_DEPTH} levels")
        found: dict[str, Any] = {}
        for name, each in schema.fields.items():
            if name in ("id", "type") or not (each.create if mode == "create" else each.update):
                continue
            if name not in body:
                continue
            raw = body[name]
            if raw is None and not each.nullable:
                if each.default is not None:
                    continue
                raise invalid("NotNullable", name, f"{name} may not be null; leave it out or give a value")
            value = None if raw is None else self._field(each, raw, depth)
            found[each.stored_as] = value
        if mode == "create":
            self._complete(schema, found)
        return found

    def _complete(self, schema: Schema, found: dict[str, Any]) -> None:
        for name, each in schema.fields.items():
            if each.default is not None and each.stored_as not in found:
                default = each.default
                found[each.stored_as] = (
                    self._convert(parse_type(each.type), name, default, 0) if isinstance(default, str) else default
                )
            if each.required and each.create and found.get(each.stored_as) in (None, []):
                raise invalid("MissingRequired", name, f"{name} is required to create a {schema.id}")

    def _field(self, each: SchemaField, raw: Any, depth: int) -> Any:
        value = self._convert(parse_type(each.type), each.name, raw, depth)
        for element in value if isinstance(value, list) else (value,):
            if element is not None:
                check_limits(each, element)
        return value

    def _convert(self, kind: FieldType, name: str, raw: Any, depth: int) -> Any:
        match kind.name:
            case "string" | "password" | "enum" | "blob":
                return conversion.to_text(name, raw)
            case "int":
                return conversion.to_int(name, raw)
            case "float":
                return conversion.to_float(name, raw)
            case "boolean":
                return conversion.to_bool(name, raw)
            case "date":
                return conversion.to_date(name, raw)
            case "reference":
                return self._reference(kind, name, raw)
            case "array":
                return self._list(kind, name, raw, depth)
            case "map":
                return self._map(kind, name, raw, depth)
            case "embedded":
                return self._embedded(kind, name, raw, depth)
        return conversion.to_json(name, raw)

    def _list(self, kind: FieldType, name: str, raw: Any, depth: int) -> list[Any]:
        assert kind.of is not None
        items = raw if isinstance(raw, list) else [raw]
        if isinstance(raw, dict) and kind.of.name not in ("embedded", "json", "map"):
            raise conversion.wrong_format(name, raw, "a list")
        if any(item is None for item in items):
            raise invalid("NotNullable", name, f"{name} may not contain null; remove the empty element")
        return [self._convert(kind.of, name, item, depth + 1) for item in items]

    def _map(self, kind: FieldType, name: str, raw: Any, depth: int) -> dict[str, Any]:
        assert kind.of is not None
        if not isinstance(raw, dict):
            raise conversion.wrong_format(name, raw, "an object")
        return {
            conversion.to_text(name, key): None if each is None else self._convert(kind.of, name, each, depth + 1)
            for key, each in raw.items()
        }

    def _embedded(self, kind: FieldType, name: str, raw: Any, depth: int) -> Any:
        schema = self.call.schemas.get(kind.target)
        if schema is None:
            return conversion.to_json(name, raw)
        body = raw if isinstance(raw, dict) else {}
        return self.values(schema, body, "create", depth + 1)

    def _reference(self, kind: FieldType, name: str, raw: Any) -> int | str:
        found: int | str | None
        if isinstance(raw, str):
            found = parse_id(raw.strip(), plain=self.call.plain_ids)
        elif isinstance(raw, int) and not isinstance(raw, bool) and self.call.plain_ids:
            found = raw
        else:
            found = None
        stored = self._stored_target(kind.target)
        if found is None or (stored is not None and not isinstance(found, int)):
            target = kind.target or "resource"
            raise _no_reference(name, target, raw)
        if stored is not None and isinstance(found, int):
            self.references.append(_Reference(stored, found, name))
        return found

    def _stored_target(self, target: str) -> str | None:
        if not target:
            return None
        resource = catalog().resources.get(stored_kind(target))
        return catalog().stored_base(resource.name) if resource is not None and resource.stored else None

    async def check_references(self) -> None:
        """Every referenced row must exist where the caller can see it; one statement per type."""
        wanted: dict[str, list[_Reference]] = {}
        for each in self.references:
            wanted.setdefault(each.target, []).append(each)
        for target, references in wanted.items():
            found = await load_visible(self.call, target, [each.row_id for each in references])
            for each in references:
                if each.row_id not in found:
                    raise _no_reference(each.field_name, target, each.row_id)


def _no_reference(name: str, target: str, raw: Any) -> Exception:
    return invalid(
        "InvalidReference",
        name,
        f"{name} must be the id of an existing {target} that you may use",
        detail=conversion.shorten(raw),
    )


async def validate(call: Call, schema: Schema, body: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
    """The fields to store, by their stored names. Raises ApiError for the first that cannot be accepted."""
    validator = _Validator(call)
    values = validator.values(schema, body, mode)
    await validator.check_references()
    return values


# Limits of one value


def check_limits(each: SchemaField, value: Any) -> None:
    """Range, length, options and characters of one value (of each element of a list)."""
    name = each.name
    if isinstance(value, int | float) and not isinstance(value, bool):
        if each.min is not None and value < each.min:
            raise invalid("MinLimitExceeded", name, f"{name} must be at least {each.min}", detail=str(value))
        if each.max is not None and value > each.max:
            raise invalid("MaxLimitExceeded", name, f"{name} must be at most {each.max}", detail=str(value))
    if isinstance(value, str):
        _check_text(each, value)


def _check_text(each: SchemaField, value: str) -> None:
    name = each.name
    if each.min_length is not None and len(value) < each.min_length:
        raise invalid(
            "MinLengthExceeded",
            name,
            f"{name} must have at least {each.min_length} characters",
            detail=conversion.shorten(value),
        )
    longest = each.max_length or (COLUMN_LENGTH if each.column else None)
    if longest is not None and len(value) > longest:
        raise invalid(
            "MaxLengthExceeded",
            name,
            f"{name} must have at most {longest} characters",
            detail=conversion.shorten(value),
        )
    if each.options and value not in each.options:
        raise invalid(
            "InvalidOption", name, f"{name} must be one of: {', '.join(each.options)}", detail=conversion.shorten(value)
        )
    if each.valid_chars and not _class(each.valid_chars, "*").fullmatch(value):
        raise invalid(
            "InvalidCharacters",
            name,
            f"{name} may contain only the characters {each.valid_chars}",
            detail=conversion.shorten(value),
        )
    if each.invalid_chars and _class(each.invalid_chars, "").search(value):
        raise invalid(
            "InvalidCharacters",
            name,
            f"{name} may not contain any of the characters {each.invalid_chars}",
            detail=conversion.shorten(value),
        )


@lru_cache(maxsize=256)
def _class(characters: str, repeat: str) -> re.Pattern[str]:
    return re.compile(f"[{characters}]{repeat}")
