"""One page for every answer: what it says, where it leads, and what can be done there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from drover.server.api.auth.browsers import is_browser
from drover.server.api.call import Call
from drover.server.api.html.forms import MARK, Form, action_form, create_form, update_form
from drover.server.api.html.markup import json_markup
from drover.server.resources import Schema

STATIC = "/api-ui"
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_STATIC_TYPES = {"browser.css": "text/css; charset=utf-8"}
_templates = Environment(
    loader=PackageLoader("drover.server.api.html"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def wants_html(connection: HTTPConnection, query: Mapping[str, tuple[str, ...]]) -> bool:
    """``_format`` decides; else a browser that opens a page (scripts in pages ask for JSON, or for anything)."""
    chosen = query.get("_format", ("",))[0]
    if chosen:
        return chosen == "html"
    accepted = connection.headers.get("accept", "")
    return is_browser(connection) and "text/html" in accepted and "application/json" not in accepted


def html_response(call: Call, schema: Schema | None, body: Mapping[str, Any], status: int, csrf: str) -> Response:
    """The page of a resource, a collection or an error."""
    kind = str(body.get("type") or "")
    if kind == "collection":
        forms = _collection_forms(call, schema)
    elif kind == "error":
        forms = []
    else:
        forms = _resource_forms(call, body)
    page = _templates.get_template("page.html").render(
        title=_title(body),
        kind=kind,
        body=body,
        json=json_markup(body, call.urls.base),
        forms=forms,
        root=call.urls.prefix,
        schemas=call.urls.schemas,
        crumbs=_crumbs(call, body),
        caller=call.caller,
        csrf=csrf,
        mark=MARK,
        static=STATIC,
    )
    return Response(
        page,
        status,
        media_type="text/html",
        headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"},
    )


def after_form(call: Call, body: Mapping[str, Any]) -> Response | None:
    """Where a browser goes when a form has done its work: to the resource, so that a reload repeats nothing."""
    target = (body.get("links") or {}).get("self")
    if not isinstance(target, str) or not target.startswith(call.urls.base + "/"):
        return None
    return RedirectResponse(target, 303)


def _title(body: Mapping[str, Any]) -> str:
    if body.get("type") == "collection":
        return f"{body.get('resourceType')}: {len(body.get('data') or ())} shown"
    return f"{body.get('type')} {body.get('name') or body.get('id') or ''}".strip()


def _crumbs(call: Call, body: Mapping[str, Any]) -> list[tuple[str, str]]:
    crumbs = [(call.version, call.urls.root)]
    if call.urls.project:
        crumbs.append((call.urls.project, call.urls.prefix))
    schema = call.schemas.get(str(body.get("type") or ""))
    if schema is not None and "GET" in schema.collection_methods:
        crumbs.append((schema.plural, call.urls.collection(schema.plural)))
    return crumbs


def _collection_forms(call: Call, schema: Schema | None) -> list[Form]:
    if schema is None:
        return []
    creatable = (call.schemas.get(name) for name in (schema.id, *schema.children))
    return [
        create_form(each, call.urls.collection(each.plural))
        for each in creatable
        if each is not None and "POST" in each.collection_methods and (each is schema or each.stored_type is not None)
    ]


def _resource_forms(call: Call, body: Mapping[str, Any]) -> list[Form]:
    schema = call.schemas.get(str(body.get("type") or ""))
    url = (body.get("links") or {}).get("self")
    if schema is None or not isinstance(url, str):
        return []
    forms = []
    if "PUT" in schema.resource_methods:
        forms.append(update_form(schema, url, body))
    for name, target in (body.get("actions") or {}).items():
        action = schema.actions.get(name)
        if action is not None and name not in ("update", "remove"):
            forms.append(action_form(name, target, action.input, call.schemas))
    if "DELETE" in schema.resource_methods:
        forms.append(Form("Remove", url, "DELETE"))
    return forms


# Static files


def static_routes() -> list[BaseRoute]:
    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC_TYPES:
            return Response("not found", 404, media_type="text/plain")
        headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(_static(name), media_type=_STATIC_TYPES[name], headers=headers)

    return [Route(f"{STATIC}/{{name}}", static)]


@cache
def _static(name: str) -> bytes:
    return (files(__package__) / "static" / name).read_bytes()
