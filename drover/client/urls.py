"""Addresses of the API.

Users paste whatever they have: the bare server, `/v1`, `/v2-beta`, a project address or a schemas address copied
from another tool's configuration. All of them name one server and at most one project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from drover.client.errors import ClientError

VERSION = "v2-beta"

_VERSION_SEGMENT = re.compile(r"/(v1|v2-beta|v2)(?=/|$)")
_PROJECT = re.compile(r"/projects/([^/]+)")
_SAFE_ID = re.compile(r"[A-Za-z0-9!:._~-]+")

# Rancher 1.6 plural names that do not follow the rule of `plural`.
_IRREGULAR = {
    "registry": "registries",
    "identity": "identities",
    "serviceproxy": "serviceproxies",
    "processsummary": "processsummary",
    "publish": "publish",
    "subscribe": "subscribe",
    "register": "register",
    "configcontent": "configcontent",
}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The server behind an address: `root` is scheme, host and path prefix, without a version and final slash."""

    root: str
    project: str | None = None

    @property
    def api(self) -> str:
        return f"{self.root}/{VERSION}"

    def scope(self, project: str | None) -> str:
        """Base of all requests: the API itself, or one project of it."""
        return self.api if project is None else f"{self.api}/projects/{segment(project)}"

    def rebase(self, link: str) -> str:
        """A link of an answer, on the address that the user gave.

        Behind proxies a server may render links with a scheme, host or port that clients cannot reach, and
        credentials must never follow a link to another host. Raises ClientError for a link outside the API.
        """
        parts = urlsplit(link)
        match = _VERSION_SEGMENT.search(parts.path)
        if match is None:
            raise ClientError(f"the server sent a link outside its API: {link}")
        return urlunsplit(urlsplit(self.root + parts.path[match.start() :])._replace(query=parts.query))


def parse_address(url: str) -> ServerAddress:
    """Normalise an address given by the user. Raises ClientError when it is none."""
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ClientError(f"{url!r} is no server address: write it like https://drover.example.com")
    match = _VERSION_SEGMENT.search(parts.path)
    prefix = parts.path[: match.start()] if match else parts.path
    project = _PROJECT.search(parts.path, match.end()) if match else None
    host = parts.netloc.rpartition("@")[2]
    return ServerAddress(
        root=f"{parts.scheme}://{host}{prefix.rstrip('/')}",
        project=project.group(1) if project else None,
    )


def plural(type_name: str) -> str:
    """The lower-case collection segment of a type; a plural name passes unchanged."""
    lowered = type_name.lower()
    if lowered in _IRREGULAR:
        return _IRREGULAR[lowered]
    if lowered.endswith("s") and not lowered.endswith(("ss", "status", "logs")):
        return lowered
    if lowered.endswith(("s", "ch", "x")):
        return f"{lowered}es"
    return f"{lowered}s"


def segment(value: str) -> str:
    """An id as one path segment, so that a user's `../x` or `a?b` cannot reach another resource."""
    if not value or value in (".", ".."):
        raise ClientError(f"{value!r} is no id")
    return value if _SAFE_ID.fullmatch(value) else quote(value, safe="!:")


def with_query(url: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Append parameters to an address that may already have some."""
    added = urlencode(list(parameters))
    if not added:
        return url
    return f"{url}{'&' if '?' in url else '?'}{added}"


def websocket_url(url: str) -> str:
    """The same address for a WebSocket."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url
