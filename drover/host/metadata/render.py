"""Values as bytes: listings and scalars as text, JSON, YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any
from urllib.parse import quote_plus

import msgspec

from drover.host.metadata.nodes import Node, Shelf, json_parts, to_json


class Format(Enum):
    """How an answer is written; the value is its content type."""

    TEXT = "text/plain; charset=utf-8"
    JSON = "application/json"
    YAML = "application/yaml"


def render(value: Any, wanted: Format) -> Sequence[bytes]:
    """The body, in pieces."""
    if wanted is Format.JSON:
        return json_parts(value)
    return (to_text(value) if wanted is Format.TEXT else to_yaml(value),)


def render_error(status: int, message: str, wanted: Format) -> Sequence[bytes]:
    """Errors in the format that was asked for: some clients parse every body, whatever its status."""
    if wanted is Format.TEXT:
        return (f"{message}\n".encode(),)
    body = {"code": status, "message": message, "type": "error"}
    return (to_json(body) + b"\n" if wanted is Format.JSON else to_yaml(body),)


def printed(value: Any) -> str:
    """A value as a long poll compares it with what its client saw last."""
    return "<nil>" if _is_null(value) else to_text(value).decode()


def to_text(value: Any) -> bytes:
    """A scalar as it is, without a final newline; a map or an array as a listing of its keys."""
    if isinstance(value, Node):
        value = value.fields()
    if isinstance(value, dict):
        lines = (quote_plus(key) + ("/" if _has_children(value[key]) else "") for key in sorted(value))
        return "".join(f"{line}\n" for line in lines).encode()
    if isinstance(value, Shelf):
        return _listing(_label(node.name, node.uuid) for node in value.nodes)
    if isinstance(value, list):
        return _listing(_element_label(each) for each in value)
    return _scalar(value).encode()


LARGEST_BLOCK = 64 * 1024
"""Bytes of JSON beyond which YAML is written in its flow style: building lines takes a hundred times as long."""


def to_yaml(value: Any) -> bytes:
    """A document in block style, while it is one that somebody may read. Strings are quoted where they have to be."""
    data = to_json(value)
    if len(data) > LARGEST_BLOCK:
        return f"{_UNPRINTABLE.sub(_escaped, data.decode())}\n".encode()
    plain = msgspec.json.decode(data)
    if not (isinstance(plain, dict | list) and plain):
        return f"{_yaml_scalar(plain)}\n".encode()
    lines: list[str] = []
    _yaml(plain, "", "", lines)
    return ("\n".join(lines) + "\n").encode()


_NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.~-]*")
"""Names as they usually are; quoting thousands of them for a listing would hold other answers up."""


def _listing(labels: Iterable[str]) -> bytes:
    return "".join(f"{index}{label}\n" for index, label in enumerate(labels)).encode()


def _element_label(value: Any) -> str:
    if isinstance(value, dict):
        return _label(value.get("name"), value.get("uuid"))
    return "/" if isinstance(value, list) else ""


def _label(name: Any, uuid: Any) -> str:
    shown = name if isinstance(name, str) else uuid
    if not isinstance(shown, str):
        return "/"
    return f"={shown}" if _NEEDS_NO_QUOTES.fullmatch(shown) else f"={quote_plus(shown)}"


def _has_children(value: Any) -> bool:
    return isinstance(value, dict | list | Node) or (isinstance(value, Shelf) and not value.is_null)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, Shelf) and value.is_null)


def _scalar(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
# JSON leaves these as they are; YAML takes some for line breaks and refuses the others.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _yaml(value: Any, indent: str, first: str, lines: list[str]) -> None:
    """Append a map or array that is not empty. `first` stands where the first line has its indentation."""
    start = first
    entries = ((f"{_yaml_scalar(key)}:", each) for key, each in value.items()) if isinstance(value, dict) else None
    for key, each in entries or (("-", each) for each in value):
        if not (isinstance(each, dict | list) and each):
            lines.append(f"{start}{key} {_yaml_scalar(each)}")
        elif entries is None:
            _yaml(each, indent + "  ", f"{start}- ", lines)
        else:
            lines.append(start + key)
            _yaml(each, indent + "  ", indent + "  ", lines)
        start = indent


def _yaml_scalar(value: Any) -> str:
    """A scalar, or an empty map or array: JSON is YAML too."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    text = msgspec.json.encode(value).decode()
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    return f"\\u{ord(character[0]):04x}"
