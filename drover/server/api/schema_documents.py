"""The ``schema`` resources: what a role may do with a type, as data for clients that know no type in advance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from starlette.responses import Response

from drover.server.api.call import Call
from drover.server.api.responses import JSON_TYPE
from drover.server.resources import RoleSchemas, Schema, SchemaField, schemas

# In this order, and only when set.
_OPTIONAL_BEFORE = (("validChars", "valid_chars"), ("invalidChars", "invalid_chars"))
_OPTIONAL_AFTER = (
    ("min", "min"),
    ("max", "max"),
    ("minLength", "min_length"),
    ("maxLength", "max_length"),
)


def schema_document(call: Call, schema: Schema) -> dict[str, Any]:
    links = {"self": call.urls.resource("schemas", schema.id)}
    if "GET" in schema.collection_methods:
        links["collection"] = call.urls.collection(schema.plural)
    return {
        "id": schema.id,
        "type": "schema",
        "links": links,
        ("actionLinks" if call.action_links else "actions"): {},
        "baseType": "schema",
        **_body(call.version, call.caller.role, schema.id),
    }


_collections: dict[tuple[object, ...], bytes] = {}
_MOST_CACHED = 64


def schema_collection(call: Call) -> Response:
    """All schemas of the role. A megabyte that hardly ever changes is rendered once per role, version and address."""
    key = (call.version, call.caller.role, call.urls, call.action_links)
    body = _collections.get(key)
    if body is None:
        if len(_collections) >= _MOST_CACHED:
            _collections.pop(next(iter(_collections)))
        body = _collections[key] = msgspec.json.encode(_collection(call))
    return Response(body, media_type=JSON_TYPE)


def _collection(call: Call) -> dict[str, Any]:
    return {
        "type": "collection",
        "resourceType": "schema",
        "links": {"self": call.urls.schemas},
        "createTypes": {},
        "actions": {},
        "data": [schema_document(call, each) for each in call.schemas],
        "sortLinks": {},
        "pagination": None,
        "sort": None,
        "filters": {},
        "createDefaults": {},
    }


@lru_cache(maxsize=8192)
def _body(version: str, role: str, type_name: str) -> dict[str, Any]:
    role_schemas = schemas(version, role)
    schema = role_schemas.get(type_name)
    assert schema is not None
    return {
        "collectionActions": {},
        "collectionFields": {},
        "collectionFilters": {name: {"modifiers": list(modifiers)} for name, modifiers in schema.filters.items()},
        "collectionMethods": list(schema.collection_methods),
        "includeableLinks": sorted(name for name, link in schema.links.items() if link.type in role_schemas),
        "pluralName": schema.plural,
        "resourceActions": {
            name: {"input": action.input, "output": action.output} for name, action in sorted(schema.actions.items())
        },
        "resourceFields": _fields(role_schemas, schema),
        "resourceMethods": list(schema.resource_methods),
        "parent": schema.parent,
        "children": list(schema.children),
    }


def _fields(role_schemas: RoleSchemas, schema: Schema) -> dict[str, Any]:
    return {name: _field(each) for name, each in schema.fields.items()}


def _field(field: SchemaField) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": field.type}
    for name, attribute in _OPTIONAL_BEFORE:
        _set(shown, name, getattr(field, attribute))
    shown["description"] = field.description or None
    shown["create"] = field.create
    shown["update"] = field.update
    for name in ("nullable", "unique", "required"):
        if getattr(field, name):
            shown[name] = True
    shown["readOnCreateOnly"] = field.read_on_create_only
    for name, attribute in _OPTIONAL_AFTER:
        _set(shown, name, getattr(field, attribute))
    if field.options:
        shown["options"] = list(field.options)
    _set(shown, "default", field.default)
    return shown


def _set(shown: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        shown[name] = value
