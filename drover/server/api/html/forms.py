"""Forms drawn from schemas, and what they send back turned into the JSON that any other client would have sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from drover.server.api.errors import invalid
from drover.server.api.grammar import parse_type
from drover.server.resources import RoleSchemas, Schema, SchemaField

MARK = "_form"  # the hidden field that says: this body comes from one of our forms

_LONG = frozenset({"description", "dockerCompose", "rancherCompose", "cert", "certChain", "key", "value"})
_HIDDEN = frozenset({MARK, "CSRF"})

Widget = Literal["line", "number", "password", "choice", "flag", "text", "lines", "pairs", "json"]

_HINTS: Mapping[Widget, str] = {
    "lines": "one a line",
    "pairs": "key=value, one a line",
    "json": "JSON",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One field of a form. ``value`` is what it shows at first."""

    name: str
    type: str
    widget: Widget
    required: bool
    value: str
    options: tuple[str, ...] = ()
    description: str = ""

    @property
    def hint(self) -> str:
        return _HINTS.get(self.widget, "")


@dataclass(frozen=True, slots=True)
class Form:
    """``method`` is what is meant; a page can only POST, so it travels as ``_method``."""

    title: str
    url: str
    method: str
    inputs: tuple[Input, ...] = ()


def create_form(schema: Schema, url: str) -> Form:
    inputs = tuple(_input(each, None) for each in _ordered(schema) if each.create)
    return Form(f"Create a {schema.id}", url, "POST", inputs)


def update_form(schema: Schema, url: str, shown: Mapping[str, Any]) -> Form:
    inputs = tuple(_input(each, shown.get(each.name)) for each in _ordered(schema) if each.update)
    return Form("Change", url, "PUT", inputs)


def action_form(name: str, url: str, input_type: str | None, schemas: RoleSchemas) -> Form:
    schema = schemas.get(input_type) if input_type else None
    inputs = tuple(_input(each, None) for each in _ordered(schema) if each.create) if schema else ()
    return Form(name, url, "POST", inputs)


def _ordered(schema: Schema) -> list[SchemaField]:
    """What must be given first."""
    return sorted(schema.fields.values(), key=lambda each: (not each.required, each.name != "name", each.name))


def _input(field: SchemaField, value: Any) -> Input:
    widget = _widget(field)
    given = field.default if value is None else value
    return Input(
        name=field.name,
        type=field.type,
        widget=widget,
        required=field.required,
        value="" if widget == "password" else _shown(widget, given),
        options=field.options,
        description=field.description,
    )


def _widget(field: SchemaField) -> Widget:
    kind = parse_type(field.type)
    if field.secret or kind.name == "password":
        return "password"
    if field.options and kind.name in ("enum", "string"):
        return "choice"
    match kind.name:
        case "boolean":
            return "flag"
        case "int" | "float":
            return "number"
        case "array" if kind.of is not None and kind.of.name in ("string", "enum", "reference", "int"):
            return "lines"
        case "map" if kind.of is not None and kind.of.name in ("string", "reference", "int"):
            return "pairs"
        case "array" | "map" | "embedded" | "json":
            return "json"
    return "text" if field.name in _LONG else "line"


def _shown(widget: Widget, value: Any) -> str:
    if value is None:
        return ""
    if widget == "lines" and isinstance(value, list):
        return "\n".join(str(each) for each in value)
    if widget == "pairs" and isinstance(value, dict):
        return "\n".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


# What comes back


def is_form(body: Mapping[str, Any]) -> bool:
    return MARK in body


def decode_form(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were filled in. Empty inputs are left out, as a client would leave them out."""
    found: dict[str, Any] = {}
    for name, text in body.items():
        field = schema.fields.get(name)
        if name in _HIDDEN or not isinstance(text, str) or not text.strip():
            continue
        found[name] = text if field is None else _decoded(field, text)
    return found


def _decoded(field: SchemaField, text: str) -> Any:
    match _widget(field):
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "pairs":
            return dict(_pair(line) for line in text.splitlines() if line.strip())
        case "json":
            try:
                return msgspec.json.decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                raise invalid("InvalidFormat", field.name, f"{field.name} must be JSON: {error}") from error
    return text


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition("=")
    return key.strip(), value.strip()
