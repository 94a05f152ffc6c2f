"""The HTTP interface of Rancher 1.6's metadata service, without the HTTP: a request in, an answer or a wait out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from drover.host.metadata.accept import negotiate
from drover.host.metadata.fields import Version
from drover.host.metadata.publication import Publication
from drover.host.metadata.render import Format, printed, render, render_error
from drover.host.metadata.walk import MISSING, BadEscape, segments_of, walk

LATEST = "latest"
DEFAULT_WAIT = 60.0
LONGEST_WAIT = 120.0

_VERSIONS: dict[str, Version] = {**{version.value: version for version in Version}, LATEST: Version.V2016_07}
_ROOT = {name: f"/{name}" for name in _VERSIONS}


@dataclass(frozen=True, slots=True)
class Request:
    """What an answer depends on. `client` is the address that is asking."""

    method: str
    path: str
    query: str
    client: str
    accept: str = ""
    if_none_match: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is in pieces."""

    status: int
    body: Sequence[bytes]
    content_type: str
    location: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """The value is still what the client knows: answer when it differs from `known`, at the latest after `seconds`."""

    known: str
    seconds: float


class Answers:
    """Answers requests from a publication."""

    def __init__(self, publication: Publication) -> None:
        self._publication = publication

    def answer(self, request: Request) -> Answer:
        """What is true now, without waiting."""
        wanted = negotiate(request.accept)
        if request.method not in ("GET", "HEAD"):
            return _error(404, "Not found", wanted)
        clean = canonical(request.path)
        if clean != request.path:
            location = f"{clean}?{request.query}" if request.query else clean
            return Answer(301, (), wanted.value, location=location)
        try:
            found = self._find(request)
        except BadEscape as error:
            return _error(400, str(error), wanted)
        if isinstance(found, str):
            return _error(404, found, wanted)
        etag = f'"{self._publication.version}-{wanted.name[0].lower()}"'
        if request.if_none_match and etag in (tag.strip() for tag in request.if_none_match.split(",")):
            return Answer(304, (), wanted.value, etag=etag)
        return Answer(200, render(found.value, wanted), wanted.value, etag=etag)

    def wait(self, request: Request) -> Wait | None:
        """How to wait for the answer; None when it is due at once.

        Waiting takes `wait=true` and a `value`. What cannot be found may appear: it is waited for as well.
        """
        if "wait=true" not in request.query or request.method not in ("GET", "HEAD"):
            return None
        query = parse_qs(request.query, keep_blank_values=True, max_num_fields=100)
        if query.get("wait", [""])[0] != "true" or "value" not in query:
            return None
        if canonical(request.path) != request.path:
            return None
        wait = Wait(query["value"][0], _seconds(query.get("maxWait", [""])[0]))
        return None if self.differs(request, wait) else wait

    def differs(self, request: Request, wait: Wait) -> bool:
        """Whether there is a value, and another than the client knows. A path that cannot be read is answered too."""
        try:
            found = self._find(request)
        except BadEscape:
            return True
        return not isinstance(found, str) and printed(found.value) != wait.known

    def _find(self, request: Request) -> _Found | str:
        """The value that the path leads to, or why there is none."""
        name, *rest = segments_of(request.path) or [""]
        loaded = self._publication.world.loaded
        if not name:
            return _Found(_ROOT if loaded else {})
        version = _VERSIONS.get(name)
        if name == "favicon.ico":
            return "Not found"
        if version is None or (not loaded and name != LATEST):
            return "Invalid version"
        if not loaded:
            return "Not found"
        tree = self._publication.tree(version)
        root = tree.shared(self._publication.version)
        if not rest or rest[0].lower() == "self":
            root["self"] = tree.self_of(request.client)
        value = walk(root, rest)
        return "Not found" if value is MISSING else _Found(value)


@dataclass(frozen=True, slots=True)
class _Found:
    value: Any


def canonical(path: str) -> str:
    """The path without empty, `.` and `..` segments; a final slash stays."""
    if "//" not in path and "/." not in path and path.startswith("/"):
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    clean = "/" + "/".join(kept)
    return f"{clean}/" if kept and path.endswith(("/", "/.", "/..")) else clean


def _error(status: int, message: str, wanted: Format) -> Answer:
    return Answer(status, render_error(status, message, wanted), wanted.value)


_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


def _seconds(text: str) -> float:
    number = int(text) if _INTEGER.fullmatch(text) else 0
    return min(float(number), LONGEST_WAIT) if number > 0 else DEFAULT_WAIT
