"""The grammar of field types: ``array[reference[host]]``, ``map[string]``, ``launchConfig``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

SCALARS = frozenset({"string", "password", "float", "int", "date", "blob", "boolean", "enum", "json"})


@dataclass(frozen=True, slots=True)
class FieldType:
    """A parsed type. ``name`` is a scalar, ``array``, ``map``, ``reference`` or ``embedded``.

    ``of`` is the element type of an array or map; ``target`` the type that a reference or embedded object names
    (empty for a reference to anything).
    """

    name: str
    of: FieldType | None = None
    target: str = ""


@cache
def parse_type(text: str) -> FieldType:
    if text in SCALARS:
        return FieldType(text)
    if text == "reference":
        return FieldType("reference")
    outer, bracket, rest = text.partition("[")
    if not bracket:
        return FieldType("embedded", target=text)
    inner = rest.removesuffix("]")
    if outer == "reference":
        return FieldType("reference", target=inner)
    return FieldType(outer, of=parse_type(inner))
