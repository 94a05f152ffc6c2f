"""What a request says, before anybody knows who sent it: path, query, body, addresses. All limits are kept here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import HTTPConnection, Request

from drover.server.api.errors import ApiError
from drover.server.orchestration.settings import Settings

LATEST = "v2-beta"
VERSIONS = ("v1", "v2-beta")

_VERSION = re.compile(r"v\d+(-(alpha|beta)\d*)?\Z")
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_MULTIPART_LIMIT = 100 * 1024
_STEERING = frozenset({"action", "CSRF", "token"})
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """How the API meets the outside. ``trusted_proxies``: networks (CIDR) whose forwarded headers are believed."""

    trusted_proxies: tuple[str, ...] = ()
    max_body: int = 8 * 1024 * 1024  # bytes
    max_query: int = 16 * 1024  # characters
    max_depth: int = 64  # nested objects and lists in a body

    def trusts(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in ipaddress.ip_network(network) for network in self.trusted_proxies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """``/{version}[/projects/{project}][/{type}[/{id}[/{link}]]]`` taken apart; names as the client wrote them."""

    version: str
    project: str | None = None
    type_name: str | None = None
    resource_id: str | None = None
    link: str | None = None
    extra: bool = False  # more segments than any resource has


def is_api_path(path: str) -> bool:
    segments = [each for each in path.split("/") if each]
    return bool(segments) and _VERSION.match(segments[0]) is not None


def parse_path(path: str, known_types: Mapping[str, object] | None = None) -> Path:
    """Trailing and repeated slashes do not count; an unknown version means the latest one."""
    segments = [each for each in path.split("/") if each]
    version = segments[0] if segments and segments[0] in VERSIONS else LATEST
    rest = segments[1:]
    project = None
    if len(rest) >= 3 and rest[0].lower() in ("projects", "project") and rest[2].lower() != "projectmembers":
        project, rest = rest[1], rest[2:]
    type_name, resource_id, link = (*rest[:3], None, None, None)[:3]
    return Path(
        version=version,
        project=project,
        type_name=type_name,
        resource_id=resource_id,
        link=link,
        extra=len(rest) > 3,
    )


def parse_query(connection: HTTPConnection, config: ApiConfig) -> dict[str, tuple[str, ...]]:
    if len(connection.url.query) > config.max_query:
        raise ApiError(414, None, f"The query is longer than {config.max_query} characters; send a shorter one")
    found: dict[str, list[str]] = {}
    for name, value in connection.query_params.multi_items():
        found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def method_of(request: Request, query: Mapping[str, tuple[str, ...]]) -> str:
    """The method meant: ``_method`` in the query wins (for clients that can only POST)."""
    method = query.get("_method", (request.method,))[0].upper() if request.method in _METHODS else request.method
    if method not in _METHODS:
        raise ApiError(
            405,
            None,
            f"{method} is not a method of this API; use GET, POST, PUT or DELETE",
            headers={"Allow": "GET, POST, PUT, DELETE"},
        )
    return method


# Bodies


async def read_body(request: Request, config: ApiConfig) -> dict[str, Any]:
    """The fields in the body; empty for no body and for JSON that is no object."""
    raw = await _read_limited(request, config.max_body)
    if not raw.strip():
        return {}
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _FORM and not raw.lstrip().startswith(b"{"):
        return _single(parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000))
    if kind == _MULTIPART:
        return _multipart(content_type, raw)
    return _json(raw, config.max_depth)


async def _read_limited(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    too_long = ApiError(413, None, f"The body is larger than {limit} bytes; send less at once")
    if declared.isdigit() and int(declared) > limit:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_long
        chunks.append(chunk)
    return b"".join(chunks)


def _json(raw: bytes, max_depth: int) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ApiError(400, "InvalidBodyContent", "The body is not valid JSON", detail=str(error)[:200]) from None
    if _depth(body) > max_depth:
        raise ApiError(400, "InvalidBodyContent", f"The body is nested more than {max_depth} levels deep")
    return body if isinstance(body, dict) else {}


def _depth(value: Any) -> int:
    deepest = 0
    waiting = [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            waiting.extend((each, level + 1) for each in (item.values() if isinstance(item, dict) else item))
    return deepest


def _multipart(content_type: str, raw: bytes) -> dict[str, Any]:
    if len(raw) > _MULTIPART_LIMIT:
        raise ApiError(413, None, f"A multipart body may have {_MULTIPART_LIMIT} bytes; send JSON instead")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + raw)
    if not message.is_multipart():
        raise ApiError(400, "InvalidBodyContent", "The multipart body cannot be parsed; check its boundary")
    pairs = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str) and part.get_filename() is None:
            payload = part.get_payload(decode=True)
            pairs.append((name, payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""))
    return _single(pairs)


def _single(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Repeated names become lists, others plain values."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def merged(query: Mapping[str, tuple[str, ...]], body: Mapping[str, Any]) -> dict[str, Any]:
    """Query parameters under the body: what the body says wins. Parameters that steer the request are no fields."""
    below = {
        name: values[0] if len(values) == 1 else list(values)
        for name, values in query.items()
        if not name.startswith("_") and name not in _STEERING
    }
    return {**below, **body}


# Addresses


def base_url(connection: HTTPConnection, config: ApiConfig, settings: Settings) -> str:
    """Scheme, host and port for the URLs of the answer. Forwarded headers count from trusted proxies only."""
    url = connection.url
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    host = _safe_host(connection.headers.get("host", "")) or url.netloc
    if not config.trusts(peer_of(connection)):
        return f"{scheme}://{host}"
    headers = connection.headers
    if settings.bool("api.allow.client.override") and (fixed := headers.get("x-api-request-url")):
        return "/".join(fixed.partition("?")[0].split("/")[:3])
    proto = _first(headers.get("x-forwarded-proto"))
    if proto not in ("http", "https"):
        return f"{scheme}://{host}"
    host = _safe_host(_first(headers.get("x-forwarded-host"))) or host
    port = _first(headers.get("x-forwarded-port"))
    if port.isdigit() and len(port) <= 5:
        host = _without_port(host)
        if port not in ("80", "443"):
            host = f"{host}:{port}"
    return f"{proto}://{host}"


def peer_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""


def client_address(connection: HTTPConnection, config: ApiConfig) -> str:
    peer = peer_of(connection)
    if not config.trusts(peer):
        return peer
    forwarded = _first(connection.headers.get("x-forwarded-for"))
    return _without_port(forwarded) if forwarded else peer


def _first(header: str | None) -> str:
    return (header or "").partition(",")[0].strip()


_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?\Z")


def _safe_host(text: str) -> str:
    return text if _HOST.match(text) else ""


def _without_port(host: str) -> str:
    match = _HOST.match(host)
    return match[1] if match else host
