"""The HTTP API: one router for all types, driven by their declarations.

A request travels through this file from top to bottom: it is parsed, its sender recognised, the type looked up among
those that the sender's role sees, and then listed, read, created, changed, removed or acted on. What a type does
differently is registered in :mod:`drover.server.api.extensions`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from drover.server.api import writing
from drover.server.api.audit import AuditTrail
from drover.server.api.auth.browsers import csrf_token, require_own_page, set_cookies
from drover.server.api.auth.policy import require_may_change
from drover.server.api.call import Call
from drover.server.api.caller import Authenticator
from drover.server.api.errors import ApiError, forbidden, not_allowed, not_found
from drover.server.api.extensions import Extensions, Item, Output, Prepared, Result
from drover.server.api.html import after_form, decode_form, html_response, is_form, static_routes, wants_html
from drover.server.api.ids import parse_id
from drover.server.api.include import embed, link_condition, related_records, stored_base
from drover.server.api.listing import item_collection, list_collection
from drover.server.api.rendering import render_aligned, render_item, renderer_for
from drover.server.api.request import (
    ApiConfig,
    Path,
    base_url,
    client_address,
    is_api_path,
    merged,
    method_of,
    parse_path,
    parse_query,
    read_body,
)
from drover.server.api.responses import add_headers, error_response, json_response
from drover.server.api.scope import is_kind, load_visible, may_write
from drover.server.api.status import status_routes
from drover.server.api.urls import Urls
from drover.server.api.validation import validate
from drover.server.api.versions import version_list, version_root
from drover.server.orchestration.context import Context
from drover.server.resources import Link, Schema, catalog
from drover.server.store import Record

log = structlog.get_logger(__name__)

# Bytes that a room renders by itself, such as configuration for agents, are as small as it wants them.
_COMPRESSED_CONTENT_TYPES = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream")
_LINK_LIMIT = 3000  # Rancher 1.6 does not page child links; a page this long looks the same to its clients


def create_api(
    context: Context,
    *,
    authenticate: Authenticator,
    extensions: Extensions,
    config: ApiConfig = ApiConfig(),  # noqa: B008 - frozen
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application. ``routes`` (streams, scripts, gateways) are tried before the API's own.

    Where no lifespan events are sent, whoever stops the server awaits ``app.state.audit.stop()``.
    """
    api = Api(context, authenticate, extensions, config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await api.audit.stop()

    app = Starlette(
        routes=[*routes, *status_routes(context), *static_routes(), Route("/{path:path}", api)],
        middleware=[
            Middleware(
                GZipMiddleware, minimum_size=1400, compresslevel=4, exclude_content_types=_COMPRESSED_CONTENT_TYPES
            )
        ],
        lifespan=lifespan,
    )
    app.state.audit = api.audit
    return app


@dataclass(slots=True)
class _Exchange:
    """One request on its way: what is known of it so far, for headers and audit."""

    request: Request
    path: Path
    urls: Urls
    client_ip: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    method: str = "GET"
    body: dict[str, Any] = field(default_factory=dict)
    call: Call | None = None
    schema: Schema | None = None
    action: str | None = None
    resource_id: str | None = None
    started: float = field(default_factory=time.monotonic)


class Api:
    """Answers requests below ``/v1`` and ``/v2-beta``."""

    def __init__(
        self, context: Context, authenticate: Authenticator, extensions: Extensions, config: ApiConfig
    ) -> None:
        self.context = context
        self.extensions = extensions
        self.config = config
        self.audit = AuditTrail(context.store)
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        exchange = self._open(request)
        try:
            response = await self._answer(exchange)
        except ApiError as error:
            response = error_response(error)
        except Exception:
            failure = ApiError(500, None, "Something went wrong in the server; its log tells more under this id")
            log.exception("api.failure", id=failure.id, method=request.method, path=request.url.path)
            response = error_response(failure)
        response = self._represent(exchange, response)
        self._finish(exchange, response)
        await response(scope, receive, send)

    def _open(self, request: Request) -> _Exchange:
        path = parse_path(request.url.path)
        urls = Urls(base_url(request, self.config, self.context.settings), path.version, path.project)
        return _Exchange(request, path, urls, client_address(request, self.config))

    def _represent(self, exchange: _Exchange, response: Response) -> Response:
        """For a person in a browser, the JSON as a page; after a form, the way to what it did."""
        call = exchange.call
        if call is None or not response.headers.get("content-type", "").startswith("application/json"):
            return response
        if not wants_html(exchange.request, exchange.query):
            return response
        body = msgspec.json.decode(response.body)
        if exchange.method != "GET" and response.status_code < 400 and (follow := after_form(call, body)):
            return follow
        csrf = csrf_token(exchange.request)
        return html_response(call, exchange.schema, body, response.status_code, csrf)

    def _finish(self, exchange: _Exchange, response: Response) -> None:
        version = self.context.settings.get("rancher.server.version")
        add_headers(response, exchange.urls, version, exchange.client_ip, exchange.call)
        set_cookies(exchange.request, response, self.context.settings, secure=exchange.urls.base.startswith("https:"))
        if exchange.method != "GET" and exchange.call is not None:
            self.audit.record(
                exchange.call,
                method=exchange.method,
                schema=exchange.schema,
                action=exchange.action,
                resource_id=exchange.resource_id,
                request_body=exchange.body,
                response=response,
                milliseconds=round((time.monotonic() - exchange.started) * 1000),
            )

    # What every request passes

    async def _answer(self, exchange: _Exchange) -> Response:
        request, path = exchange.request, exchange.path
        exchange.query = parse_query(request, self.config)
        exchange.method = method_of(request, exchange.query)
        if request.url.path.strip("/") == "":
            return json_response(version_list(exchange.urls))
        if not is_api_path(request.url.path):
            raise not_found("There is nothing here; the API begins at /v2-beta")
        call = exchange.call = await self._identify(exchange)
        if request.method in ("POST", "PUT"):
            exchange.body = await read_body(request, self.config)
        require_own_page(request, exchange.method, exchange.query, str(exchange.body.pop("CSRF", "")))
        if exchange.method in ("POST", "PUT"):
            exchange.body = merged(exchange.query, exchange.body)
        if path.type_name is None:
            if exchange.method != "GET":
                raise not_allowed()
            return json_response(version_root(call))
        return await self._route(exchange, call)

    async def _identify(self, exchange: _Exchange) -> Call:
        request, path = exchange.request, exchange.path
        resource = catalog(path.version).find(path.type_name) if path.type_name else None
        caller = await self._authenticate(
            request, project=path.project, type_name=resource.name if resource else path.type_name
        )
        if caller is None:
            raise self._unauthorized(request)
        query = exchange.query
        return Call(
            context=self.context,
            extensions=self.extensions,
            caller=caller,
            urls=exchange.urls,
            query=query,
            plain_ids=caller.plain_ids and query.get("_plainId", ("",))[0] == "true",
            show_removed=query.get("_removed", ("",))[0] == "true",
            action_links="x-api-action-links" in request.headers,
            client_ip=exchange.client_ip,
            connection=request,
        )

    def _unauthorized(self, request: Request) -> ApiError:
        headers = {}
        silent = request.headers.get("x-api-no-challenge", "").lower() == "true"
        if not silent and request.headers.get("connection", "").lower() != "upgrade":
            headers["WWW-Authenticate"] = f'Basic realm="{self.context.settings.get("api.auth.realm")}"'
        return ApiError(401, None, "Log in, or send a valid API key, to use this resource", headers=headers)

    # Which operation is meant

    async def _route(self, exchange: _Exchange, call: Call) -> Response:
        path = exchange.path
        schema = call.schemas.get(path.type_name or "")
        if path.extra:
            raise not_found()
        if schema is None:
            if path.project and path.resource_id is None and path.type_name:
                return await self._project_link(exchange, call, path.project, path.type_name)
            raise not_found(f"There is no type {path.type_name!r}, or you may not see it")
        exchange.schema = schema
        if path.resource_id is None:
            return await self._collection(exchange, call, schema)
        exchange.resource_id = path.resource_id
        if path.link is None:
            return await self._resource(exchange, call, schema, path.resource_id)
        return await self._link(exchange, call, schema, path.resource_id, path.link)

    async def _project_link(self, exchange: _Exchange, call: Call, project: str, link: str) -> Response:
        """A link of the project itself that is no type, such as ``hostStats``."""
        schema = call.schemas.get("project")
        if schema is None:
            raise not_found()
        exchange.schema = schema
        return await self._link(exchange, call, schema, project, link)

    def _fields(self, exchange: _Exchange, schema: Schema) -> dict[str, Any]:
        """What the client sent for a type; a form's texts become values first."""
        return decode_form(schema, exchange.body) if is_form(exchange.body) else exchange.body

    # Collections

    async def _collection(self, exchange: _Exchange, call: Call, schema: Schema) -> Response:
        match exchange.method:
            case "GET":
                _allow("GET", schema.collection_methods, schema)
                return await self._list(call, schema)
            case "POST":
                _allow("POST", schema.collection_methods, schema)
                return await self._create(exchange, call, schema)
        raise not_allowed(f"{exchange.method} needs the id of a {schema.id} in the path")

    async def _list(self, call: Call, schema: Schema) -> Response:
        url = call.urls.collection(schema.plural)
        lister = self.extensions.lister(schema.id)
        if lister is not None:
            found = await lister(call, schema)
            if isinstance(found, Response):
                return found
            return json_response(await item_collection(call, schema, url, found))
        if schema.stored_type is None:
            return json_response(await item_collection(call, schema, url, ()))
        return json_response(await list_collection(call, schema, schema.stored_type, url))

    async def _create(self, exchange: _Exchange, call: Call, schema: Schema) -> Response:
        creator = self.extensions.creator(schema.id)
        if creator is not None:
            values = await validate(call, schema, self._fields(exchange, schema), "create")
            call = replace(call, body=exchange.body)
            return await self._reply(exchange, call, await creator(call, schema, values), status=201, created=True)
        if schema.stored_type is None:
            raise not_allowed(f"A {schema.id} cannot be created")
        records = await writing.create(call, schema, schema.stored_type, self._fields(exchange, schema))
        result: Result = records[0] if len(records) == 1 else records
        return await self._reply(exchange, call, result, status=201, created=True)

    # Single resources

    async def _resource(self, exchange: _Exchange, call: Call, schema: Schema, text: str) -> Response:
        match exchange.method:
            case "GET":
                _allow("GET", schema.resource_methods, schema)
                return await self._read(exchange, call, schema, text)
            case "POST":
                return await self._act(exchange, call, schema, text)
            case "PUT":
                return await self._update(exchange, call, schema, text)
        return await self._remove(exchange, call, schema, text)

    async def _read(self, exchange: _Exchange, call: Call, schema: Schema, text: str) -> Response:
        item = await self._find(call, schema, text)
        if isinstance(item, Response):
            return item
        if isinstance(item, Output):
            return await self._reply(exchange, call, item)
        shown = await render_aligned(call, [item])
        await embed(call, schema, [item], shown)
        if shown[0] is None:
            raise not_found()
        return json_response(shown[0])

    async def _find(self, call: Call, schema: Schema, text: str) -> Item | Response:
        reader = self.extensions.reader(schema.id)
        if reader is None:
            return await self._load(call, schema, text)
        found = await reader(call, schema, text)
        if found is None:
            raise not_found(f"There is no {schema.id} {text!r}, or you may not see it")
        return found

    async def _load(self, call: Call, schema: Schema, text: str) -> Record:
        """The row that an id names; 404 when the caller may not see it."""
        row_id = parse_id(text, plain=call.plain_ids)
        missing = not_found(f"There is no {schema.id} {text!r}, or you may not see it")
        if schema.stored_type is None or not isinstance(row_id, int):
            raise missing
        record = (await load_visible(call, schema.stored_type, [row_id])).get(row_id)
        if record is None or not is_kind(schema, record):
            raise missing
        return record

    async def _load_own(self, call: Call, schema: Schema, text: str) -> Record:
        """The row that an id names, to change it."""
        record = await self._load(call, schema, text)
        if not may_write(call, record):
            raise forbidden(f"This {schema.id} belongs to another account; only its owner may change it")
        return record

    async def _update(self, exchange: _Exchange, call: Call, schema: Schema, text: str) -> Response:
        updater = self.extensions.updater(schema.id)
        if updater is not None:
            _allow("PUT", schema.resource_methods, schema)
            values = await validate(call, schema, self._fields(exchange, schema), "update")
            return await self._reply(exchange, call, await updater(call, schema, text, values))
        record = await self._load_own(call, schema, text)
        shown = _schema_of(call, record, schema)
        _allow("PUT", shown.resource_methods, shown)
        return await self._reply(
            exchange, call, await writing.update(call, shown, record, self._fields(exchange, shown))
        )

    async def _remove(self, exchange: _Exchange, call: Call, schema: Schema, text: str) -> Response:
        remover = self.extensions.remover(schema.id)
        if remover is not None:
            _allow("DELETE", schema.resource_methods, schema)
            result = await remover(call, schema, text)
            return Response(status_code=204) if result is None else await self._reply(exchange, call, result)
        record = await self._load_own(call, schema, text)
        shown = _schema_of(call, record, schema)
        _allow("DELETE", shown.resource_methods, shown)
        require_may_change(call, "delete", record)
        if self._takes_away(call, shown, record, "remove"):
            raise ApiError(422, "ActionNotAvailable", f"{record.name or text} may not be removed by you")
        preparer = self.extensions.preparer(shown.id, "remove")
        prepared = await preparer(call, record, {}) if preparer else Prepared()
        return await self._reply(exchange, call, await writing.remove(call, record, prepared))

    def _takes_away(self, call: Call, schema: Schema, record: Record, action: str) -> bool:
        """Whether a rule denies this caller an action that the state would allow."""
        return any(action not in keep(call, record, [action]) for keep in self.extensions.action_filters(schema.id))

    # Actions

    async def _act(self, exchange: _Exchange, call: Call, schema: Schema, text: str) -> Response:
        name = exchange.query.get("action", ("",))[0].lower()
        if not name:
            raise not_allowed(f"POST to a single {schema.id} needs ?action=<name>")
        record = await self._load_own(call, schema, text)
        shown = _schema_of(call, record, schema)
        declared = next((each for each in shown.actions if each.lower() == name), None)
        if declared is None:
            raise ApiError(422, "InvalidAction", f"A {shown.id} has no action {name!r}")
        exchange.action = declared
        rendered = await render_item(call, record)
        offered = (rendered or {}).get("actionLinks" if call.action_links else "actions", {})
        if declared not in offered:
            raise ApiError(
                422,
                "ActionNotAvailable",
                f"{declared} is not possible for {record.name or text} now; its state is {record.state or 'unknown'}",
                detail=f"possible now: {', '.join(sorted(offered)) or 'nothing'}",
            )
        values = await self._action_input(exchange, call, shown, declared)
        handler = self.extensions.action_handler(shown.id, declared)
        if handler is not None:
            return await self._reply(exchange, call, await handler(call, record, values))
        if not writing.has_process(record.type, declared):
            raise not_found(f"{declared} is not offered by this server")
        preparer = self.extensions.preparer(shown.id, declared)
        prepared = await preparer(call, record, values) if preparer else Prepared(data=values)
        planned = await writing.run_process(call, record, declared, prepared)
        return await self._reply(exchange, call, planned, status=202)

    async def _action_input(self, exchange: _Exchange, call: Call, schema: Schema, name: str) -> dict[str, Any]:
        input_type = schema.actions[name].input
        input_schema = call.schemas.get(input_type) if input_type else None
        if input_schema is None:
            return {}
        return await validate(call, input_schema, self._fields(exchange, input_schema), "create")

    # Links

    async def _link(self, exchange: _Exchange, call: Call, schema: Schema, text: str, name: str) -> Response:
        record = await self._load(call, schema, text)
        shown = _schema_of(call, record, schema)
        handler = self.extensions.link_handler(shown.id, name)
        link = next((each for key, each in shown.links.items() if key.lower() == name.lower()), None)
        target = call.schemas.get(link.type) if link else None
        if handler is not None and exchange.method == "GET":
            exchange.schema = target or schema
            return await self._reply(exchange, call, await handler(call, record))
        if link is None or target is None:
            raise not_found(f"A {shown.id} has no link {name!r}")
        if exchange.method == "POST":
            _allow("POST", target.collection_methods, target)
            exchange.schema = target
            if link.field and link.field not in exchange.body:
                exchange.body[link.field] = text
            return await self._create(exchange, call, target)
        if exchange.method != "GET":
            raise not_allowed()
        url = f"{call.urls.resource(shown.plural, text)}/{name.lower()}"
        return await self._follow(exchange, call, link, target, record, url)

    async def _follow(
        self, exchange: _Exchange, call: Call, link: Link, target: Schema, record: Record, url: str
    ) -> Response:
        base = stored_base(link.type)
        condition = link_condition(call, link, base, record)
        if base is not None and condition is not None:
            return json_response(
                await list_collection(call, target, base, url, extra=(condition,), default_limit=_LINK_LIMIT)
            )
        found = (await related_records(call, link, [record])).get(record.id, [])
        if link.kind == "reference":
            return await self._reply(exchange, call, found[0] if found else None)
        return json_response(await item_collection(call, target, url, found))

    # Answers

    async def _reply(
        self, exchange: _Exchange, call: Call, result: Result, *, status: int = 200, created: bool = False
    ) -> Response:
        """A handler's result as a response; nothing is a 404."""
        if isinstance(result, Response):
            return result
        if result is None:
            raise not_found()
        if isinstance(result, Record | Output):
            shown = await render_item(call, result, created=created)
            if shown is None:
                raise not_found()
            exchange.resource_id = shown["id"] or exchange.resource_id
            return json_response(shown, status)
        schema = exchange.schema
        assert schema is not None
        body = await item_collection(call, schema, call.urls.collection(schema.plural), result)
        return json_response(body, status)


def _allow(method: str, methods: Sequence[str], schema: Schema) -> None:
    if method not in methods:
        raise ApiError(
            405,
            None,
            f"Your role may not {method} {schema.plural}"
            + ("; resources of an environment are changed below /v2-beta/projects/<id>" if method != "GET" else ""),
            headers={"Allow": ", ".join(methods)},
        )


def _schema_of(call: Call, record: Record, asked: Schema) -> Schema:
    """The schema of the row's own kind: a load balancer that was asked for as a service is judged as what it is."""
    found = renderer_for(call, record)
    return asked if found is None else found.schema
