"""The API, asked from within the server: the same checks and answers as over the wire, without the wire.

An internal call carries its caller in the ASGI scope. No request from outside can: the scope is made by the server,
and nothing of a request's headers or body ends up under this key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message

from drover.client.api import Filters
from drover.client.errors import error_from_body
from drover.client.resource import Resource
from drover.client.urls import plural
from drover.client.wait import Goal
from drover.server.api.caller import Authenticator, Caller
from drover.server.api.errors import REASONS
from drover.server.orchestration.context import Context
from drover.server.resources import catalog

_SCOPE_KEY = "drover.internal_caller"
_PAGE = 3000
_POLL_SECONDS = 2.0
_WAIT_SECONDS = 1800.0


class InternalAuthenticator:
    """Recognises internal callers, and asks the real authenticator about everybody else."""

    def __init__(self, outside: Authenticator) -> None:
        self._outside = outside

    async def __call__(
        self, connection: HTTPConnection, *, project: str | None = None, type_name: str | None = None
    ) -> Caller | None:
        internal = connection.scope.get(_SCOPE_KEY)
        if isinstance(internal, Caller):
            return internal
        return await self._outside(connection, project=project, type_name=type_name)


class InternalApi:
    """The server's own use of its API within one environment (a ``ResourceApi`` for applying Compose projects)."""

    def __init__(self, app: ASGIApp, context: Context, project_id: int, *, system: bool = False) -> None:
        self._app = app
        self._context = context
        self._prefix = f"/v2-beta/projects/1a{project_id}"
        self._caller = Caller(
            account_id=project_id,
            policy_account_id=project_id,
            project_id=project_id,
            role="owner" if system else "project",
            account_kind="project",
            auth_type="Internal",
            project_owner=True,
        )

    async def find(self, type_name: str, filters: Filters) -> list[Resource]:
        query: list[tuple[str, str]] = [("limit", str(_PAGE)), ("removed_null", "1")]
        for name, value in filters.items():
            values = [value] if isinstance(value, str | int) else list(value)
            query.extend((name, str(each)) for each in values)
        found = await self._request("GET", f"{self._prefix}/{plural(type_name)}?{urlencode(query)}")
        return [Resource(each) for each in found["data"]]

    async def setting(self, name: str) -> str:
        return self._context.settings.get(name)

    async def create(self, type_name: str, body: Mapping[str, Any]) -> Resource:
        return Resource(await self._request("POST", f"{self._prefix}/{plural(type_name)}", body))

    async def update(self, resource: Resource, changes: Mapping[str, Any]) -> Resource:
        return Resource(await self._request("PUT", _path(resource["links"]["self"]), changes))

    async def delete(self, resource: Resource) -> None:
        await self._request("DELETE", _path(resource["links"]["self"]))

    async def action(self, resource: Resource, name: str, body: Mapping[str, Any] | None = None) -> Resource:
        url = f"{_path(resource['links']['self'])}/?action={name}"
        return Resource(await self._request("POST", url, body or {}))

    async def wait(self, resource: Resource, goal: Goal) -> Resource:
        """Read the resource again whenever it changes, until the goal holds."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while True:
                latest = Resource(await self._request("GET", _path(resource["links"]["self"])))
                if goal(latest):
                    return latest
                await self._until_changed(latest)

    async def _until_changed(self, resource: Resource) -> None:
        base = catalog().find(resource.type)
        row_id = int("".join(each for each in resource.id[1:] if each.isdigit()))
        if base is None:
            await asyncio.sleep(_POLL_SECONDS)
            return
        stored = catalog().stored_base(base.name)
        seen = (resource.state, resource.get("healthState"), resource.get("transitioning"))
        try:
            await self._context.watch.until(
                stored,
                row_id,
                lambda row: row is None or (row.state, row["healthState"], "yes") != (seen[0], seen[1], "yes"),
                timeout=_POLL_SECONDS,
            )
        except TimeoutError:
            return

    async def _request(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        parts = urlsplit(url)
        payload = b"" if body is None else msgspec.json.encode(body)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"internal"), (b"accept", b"application/json")],
            "client": ("127.0.0.1", 0),
            "server": ("internal", 80),
            _SCOPE_KEY: self._caller,
        }
        status, content = 500, bytearray()

        async def receive() -> Message:
            return {"type": "http.request", "body": payload, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                content.extend(message.get("body", b""))

        await self._app(scope, receive, send)
        decoded: dict[str, Any] = msgspec.json.decode(content) if content else {}
        if status >= 300:
            raise error_from_body(status, REASONS.get(status, ""), decoded)
        return decoded


def _path(url: str) -> str:
    return urlsplit(url).path
