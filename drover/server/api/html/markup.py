"""JSON as HTML: indented, with its URLs as links."""

from __future__ import annotations

from typing import Any

import msgspec
from markupsafe import Markup, escape

_INDENT = "  "


def json_markup(value: Any, base: str) -> Markup:
    """``base`` is the server's own address: only URLs that begin with it become links."""
    return Markup("").join(_lines(value, base, ""))


def _lines(value: Any, base: str, indent: str) -> list[Markup]:
    if isinstance(value, dict) and value:
        return _block("{", "}", [(_key(key), each) for key, each in value.items()], base, indent)
    if isinstance(value, list) and value:
        return _block("[", "]", [(Markup(""), each) for each in value], base, indent)
    return [_scalar(value, base)]


def _block(opening: str, closing: str, items: list[tuple[Markup, Any]], base: str, indent: str) -> list[Markup]:
    inner = indent + _INDENT
    parts = [escape(opening + "\n")]
    for number, (key, value) in enumerate(items, start=1):
        parts += [escape(inner), key, *_lines(value, base, inner)]
        parts.append(escape("\n" if number == len(items) else ",\n"))
    return [*parts, escape(indent + closing)]


def _key(key: Any) -> Markup:
    return Markup('<span class="key">{}</span>: ').format(_encoded(str(key)))


def _scalar(value: Any, base: str) -> Markup:
    if isinstance(value, str) and value.startswith(base + "/"):
        return Markup('<a href="{}">{}</a>').format(value, _encoded(value))
    kind = "text" if isinstance(value, str) else "value"
    return Markup('<span class="{}">{}</span>').format(kind, _encoded(value))


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()
