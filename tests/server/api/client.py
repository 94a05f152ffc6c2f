"""A client for tests: calls the ASGI application directly, without sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from starlette.applications import Starlette


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True, slots=True)
class ApiClient:
    """``prefix`` is put before every relative path, e.g. ``/v2-beta/projects/1a5``."""

    app: Starlette
    prefix: str = ""
    headers: Mapping[str, str] = ()  # type: ignore[assignment]
    peer: str = "192.0.2.7"

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.request("POST", path, body=body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.request("PUT", path, body=body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        raw: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """``path`` may also be an absolute URL, as found in links."""
        parts = urlsplit(path)
        target = parts.path if parts.scheme or path.startswith("/") else f"{self.prefix}/{parts.path}"
        text = "&".join(filter(None, [parts.query, urlencode(query or {}, doseq=True)]))
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        sent = {"host": "drover.test", "content-length": str(len(content)), **dict(self.headers), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(target),
            "raw_path": target.encode(),
            "query_string": text.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
            "client": (self.peer, 40000),
            "server": ("drover.test", 80),
            "state": {},
        }
        messages: list[dict[str, Any]] = []
        delivered = False

        async def receive() -> dict[str, Any]:
            nonlocal delivered
            if delivered:
                return {"type": "http.disconnect"}
            delivered = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start = messages[0]
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], found, b"".join(each.get("body", b"") for each in messages[1:]))
