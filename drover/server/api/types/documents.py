"""Schemas and texts about types, as resources."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from drover.server.api.call import Call
from drover.server.api.extensions import Extensions, Output
from drover.server.api.responses import json_response
from drover.server.api.schema_documents import schema_collection, schema_document
from drover.server.resources import Schema


def register(extensions: Extensions) -> None:
    extensions.lists("schema")(list_schemas)
    extensions.reads("schema")(read_schema)
    extensions.lists("typeDocumentation")(list_documentation)
    extensions.reads("typeDocumentation")(read_documentation)
    extensions.lists("resourceDefinition")(list_definitions)


async def list_schemas(call: Call, _schema: Schema) -> Response:
    return schema_collection(call)


async def read_schema(call: Call, _schema: Schema, name: str) -> Response | None:
    found = call.schemas.get(name)
    return None if found is None else json_response(schema_document(call, found))


async def list_documentation(call: Call, _schema: Schema) -> Sequence[Output]:
    return [_documentation(each) for each in call.schemas]


async def read_documentation(call: Call, _schema: Schema, name: str) -> Output | None:
    found = call.schemas.get(name.removeprefix("1td!"))
    return None if found is None else _documentation(found)


def _documentation(schema: Schema) -> Output:
    fields = {
        name: {"type": "fieldDocumentation", "description": field.description or None}
        for name, field in schema.fields.items()
        if field.description
    }
    return Output(type="typeDocumentation", id=schema.id, values={"description": None, "resourceFields": fields})


async def list_definitions(call: Call, _schema: Schema) -> Sequence[Output]:
    return [
        Output(type="resourceDefinition", id=each.id, values={"name": each.id})
        for each in call.schemas
        if each.stored_type is not None
    ]
