"""An API server in memory that speaks the wire format, for tests of clients.

It knows the conventions (collections with paging and filters, typed errors, actions, subscribe, streams) and no
behaviour: a test puts resources in, decides what actions do, and pushes the events that it wants to be seen.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

Json = dict[str, Any]
Action = Callable[["WireServer", Json, Json], Any]
Stream = Callable[[web.WebSocketResponse], Awaitable[None]]

PREFIXES = {
    "stack": "1st",
    "service": "1s",
    "container": "1i",
    "instance": "1i",
    "host": "1h",
    "project": "1a",
    "projecttemplate": "1pt",
    "secret": "1se",
    "volume": "1v",
    "volumetemplate": "1vt",
    "apikey": "1c",
    "registrationtoken": "1c",
    "token": "1t",
}
BASES = {"container": "instance", "loadBalancerService": "service", "project": "account"}


class WireServer:
    """Resources by id; `requests` records what clients asked for, as `GET /v2-beta/...`."""

    def __init__(self) -> None:
        self.resources: dict[str, Json] = {}
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.actions: dict[str, Action] = {}
        self.streams: dict[str, Stream] = {}
        self.sockets: set[web.WebSocketResponse] = set()
        self.subscriptions = 0
        self.on_create: Callable[[Json], None] | None = None
        self.failures: list[web.Response] = []
        self.page_size = 100
        self.refuse_websockets = 0
        self.password: tuple[str, str] | None = None
        self._next_id = 0
        self._server: TestServer | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app)
        await self._server.start_server()
        self.loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        if self._server is not None:
            await self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return str(self._server.make_url("/")).rstrip("/")

    def add(self, type_name: str, **fields: Any) -> Json:
        """Put a resource in; `id` and common fields are filled in."""
        self._next_id += 1
        base = "service" if type_name.lower().endswith("service") else type_name
        resource_id = fields.pop("id", f"{PREFIXES.get(base.lower(), '1x')}{self._next_id}")
        fields.setdefault("actions", {})
        resource: Json = {
            "id": resource_id,
            "type": type_name,
            "baseType": BASES.get(type_name, base),
            "state": "active",
            "transitioning": "no",
            "transitioningMessage": None,
            "removed": None,
            **fields,
        }
        prefix = "/v2-beta" if type_name in ("project", "projectTemplate", "token") else "/v2-beta/projects/1a5"
        own = f"{self.url}{prefix}/{type_name.lower()}s/{resource_id}"
        resource["actions"] = {name: f"{own}/?action={name}" for name in resource["actions"]}
        resource["links"] = {"self": own, "instances": f"{own}/instances"}
        self.resources[resource_id] = resource
        return resource

    async def change(self, resource_id: str, **fields: Any) -> None:
        """Change a resource and tell the subscribers."""
        resource = self.resources[resource_id]
        resource.update(fields)
        await self.publish(resource)

    async def publish(self, resource: Json) -> None:
        text = json.dumps(
            {
                "id": "e1",
                "name": "resource.change",
                "resourceId": resource["id"],
                "resourceType": resource["type"],
                "data": {"resource": resource},
                "time": 1549188672000,
            }
        )
        for socket in list(self.sockets):
            await socket.send_str(text)

    def fail_next(self, status: int, code: str, **fields: Any) -> None:
        body = {"type": "error", "status": status, "code": code, "message": None, "detail": None, **fields}
        self.failures.append(web.json_response(body, status=status))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        self.headers.append(dict(request.headers))
        parts = [part for part in request.path.split("/") if part]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, parts)
        if self.failures:
            return self.failures.pop(0)
        body = json.loads(await request.read() or b"null") if request.method in ("POST", "PUT") else None
        if request.method in ("POST", "PUT"):
            self.bodies.append(body)
        rest = parts[3:] if parts[1:2] == ["projects"] and len(parts) > 3 else parts[1:]
        if not rest:
            return web.json_response({"id": "v2-beta", "type": "apiVersion", "links": {}})
        return self._answer(request, rest, body)

    def _answer(self, request: web.Request, rest: list[str], body: Any) -> web.Response:
        if len(rest) == 1:
            return self._create(rest[0], body or {}) if request.method == "POST" else self._list(request, rest[0])
        resource = self.resources.get(rest[1])
        if resource is None:
            return _error(404, "Not Found")
        if len(rest) == 3:
            ids = resource.get("instanceIds") or []
            return self._page(request, [self.resources[item] for item in ids])
        if request.method == "POST":
            return self._act(request.query.get("action", ""), resource, body or {})
        if request.method == "PUT":
            resource.update(body)
        if request.method == "DELETE":
            resource.update(state="removing", transitioning="yes")
            self._later(resource["id"], state="removed", transitioning="no", removed="2019-02-03T10:11:12Z")
        return web.json_response(resource)

    def _later(self, resource_id: str, **fields: Any) -> None:
        async def change() -> None:
            await self.change(resource_id, **fields)

        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(change()))

    def _create(self, segment: str, body: Json) -> web.Response:
        type_name = {
            "stacks": "stack",
            "services": "service",
            "loadbalancerservices": "loadBalancerService",
            "externalservices": "externalService",
            "dnsservices": "dnsService",
            "tokens": "token",
            "apikeys": "apiKey",
            "secrets": "secret",
            "volumes": "volume",
            "volumetemplates": "volumeTemplate",
            "projects": "project",
            "projecttemplates": "projectTemplate",
            "registrationtokens": "registrationToken",
        }.get(segment)
        if type_name is None:
            return _error(405, "Method not allowed")
        if type_name == "token" and self.password != tuple(str(body.get("code")).split(":", 1)):
            return _error(401, "Unauthorized")
        resource = self.add(type_name, **{key: value for key, value in body.items() if key != "value"})
        if type_name == "token":
            resource["jwt"] = "T" * 40
        if type_name == "apiKey":
            resource.update(publicValue="ABCDEF0123456789ABCD", secretValue="s" * 40)
        if self.on_create is not None:
            self.on_create(resource)
        return web.json_response(resource, status=201)

    def _list(self, request: web.Request, segment: str) -> web.Response:
        base = segment.lower()
        matches = [
            resource
            for resource in self.resources.values()
            if base in (f"{resource['type'].lower()}s", f"{resource['baseType'].lower()}s")
            and all(_fits(resource, name, value) for name, value in request.query.items())
        ]
        return self._page(request, matches)

    def _page(self, request: web.Request, matches: list[Json]) -> web.Response:
        offset = int(request.query.get("marker", "m0")[1:])
        limit = min(int(request.query.get("limit", "100")), self.page_size)
        following = None
        if offset + limit < len(matches):
            query = {**request.query, "marker": f"m{offset + limit}"}
            # Behind a proxy the server may not know its own public address.
            following = str(request.url.with_host("internal.invalid").with_query(query))
        page = {"limit": limit, "next": following, "partial": following is not None}
        body = {"type": "collection", "data": matches[offset : offset + limit], "pagination": page, "actions": {}}
        return web.json_response(body)

    def _act(self, name: str, resource: Json, body: Json) -> web.Response:
        if name in self.actions:
            answer = self.actions[name](self, resource, body)
            return answer if isinstance(answer, web.Response) else web.json_response(answer)
        if name in ("execute", "logs"):
            url = self.url.replace("http", "ws", 1) + f"/v1/{'exec' if name == 'execute' else 'logs'}/"
            return web.json_response({"type": "hostAccess", "url": url, "token": f"{name}-{resource['id']}"})
        if name not in resource["actions"]:
            return _error(422, "ActionNotAvailable")
        return web.json_response(resource, status=202)

    async def _socket(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        if self.refuse_websockets:
            return web.Response(status=self.refuse_websockets)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if parts[-1] != "subscribe":
            await self.streams[parts[-1]](socket)
            await socket.close()
            return socket
        self.subscriptions += 1
        self.sockets.add(socket)
        await socket.send_str('{"name":"ping","resourceId":null,"resourceType":null,"data":{"options":{}}}')
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self.sockets.discard(socket)
        return socket


def _fits(resource: Json, name: str, value: str) -> bool:
    if name in ("limit", "marker", "all", "include", "sort", "order"):
        return True
    field, _, modifier = name.rpartition("_")
    if modifier == "null":
        return resource.get(field) is None
    if modifier == "ne":
        return str(resource.get(field)) != value
    current = resource.get(name)
    return str(current).lower() == value.lower() if isinstance(current, bool) else str(current) == value


def _error(status: int, code: str) -> web.Response:
    return web.json_response(
        {"type": "error", "status": status, "code": code, "message": code, "detail": None}, status=status
    )


def frame(data: bytes) -> str:
    """Bytes of an exec stream as they travel."""
    return base64.b64encode(data).decode()


def docker_frame(channel: int, data: bytes) -> bytes:
    """A piece of Docker's multiplexed stream."""
    return bytes([channel, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@contextmanager
def serving_in_thread() -> Iterator[WireServer]:
    """A server on its own loop and thread, for programs that run a loop of their own."""
    server = WireServer()
    ready, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        await server.start()
        ready.set()
        await done.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        assert server.loop is not None
        server.loop.call_soon_threadsafe(done.set)
        thread.join(10)
