"""Finding a value in a tree by the segments of a path, with the rules of Rancher 1.6."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus

from drover.host.metadata.nodes import Node, Shelf

_INDEX = re.compile(r"[+-]?[0-9]{1,18}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")


class Missing:
    """What a walk returns that leads nowhere; None is a value like any other."""


MISSING = Missing()


class BadEscape(ValueError):
    """A segment with a per cent sign that does not stand before two hexadecimal digits."""


def segments_of(path: str) -> list[str]:
    """The keys in an escaped path: `%2F` is a slash within a key, `+` a space. A final slash says nothing."""
    bad = _BAD_ESCAPE.search(path)
    if bad is not None:
        raise BadEscape(f'invalid URL escape "{bad[0]}"')
    return [unquote_plus(segment) for segment in path.strip("/").split("/") if segment]


def walk(root: Any, segments: Sequence[str]) -> Any:
    """The value at the end of the path, or MISSING.

    A path that leads nowhere is tried again in lower case: names are lower-case in the newest version, and users
    write them as they created them.
    """
    found = _walk(root, segments)
    if found is MISSING:
        found = _walk(root, [segment.lower() for segment in segments])
    return found


def _walk(value: Any, segments: Sequence[str]) -> Any:
    for segment in segments:
        value = _step(value, segment)
        if value is MISSING:
            return MISSING
    return value


def _step(value: Any, segment: str) -> Any:
    if isinstance(value, dict):
        return value.get(segment, MISSING)
    if isinstance(value, Node):
        return value.fields().get(segment, MISSING)
    if isinstance(value, Shelf):
        if _INDEX.fullmatch(segment):
            return _at(value.nodes, int(segment))
        node = value.find(segment)
        return MISSING if node is None else node
    if isinstance(value, list):
        return _at(value, int(segment)) if _INDEX.fullmatch(segment) else _named(value, segment)
    return MISSING


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if 0 <= index < len(values) else MISSING


def _named(values: Sequence[Any], name: str) -> Any:
    for each in values:
        if isinstance(each, dict) and name in (each.get("name"), each.get("uuid")):
            return each
    return MISSING
