"""Rendered objects of a tree, in pieces that a change replaces one by one.

An object's JSON is made once and kept; a collection refers to its objects and joins their bytes when asked. So a
changed container costs one small encoding, wherever it is shown. The JSON is also what is walked into: keeping the
fields a second time, as Python values, would take three times the memory.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import msgspec

SortKey = tuple[Any, ...]

_ENCODER = msgspec.json.Encoder(order="sorted")
_UNSAFE = ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026"))


def encode(value: Any) -> bytes:
    """Compact JSON with sorted keys; `<`, `>` and `&` escaped as Rancher 1.6 does.

    These characters occur in strings alone, so replacing them in the finished text is safe.
    """
    text = _ENCODER.encode(value)
    for plain, escaped in _UNSAFE:
        if plain in text:
            text = text.replace(plain, escaped)
    return text


class Node:
    """One object: `head`, then the children if it has any, then `tail`. Mutable: whoever refers to it sees the change.

    `names_only` shows the children as their names, as the oldest API version does.
    """

    __slots__ = ("child_key", "children", "head", "name", "names_only", "sort_key", "tail", "uuid")

    def __init__(
        self,
        uuid: str,
        name: str | None,
        *,
        child_key: str = "",
        children: Shelf | None = None,
        names_only: bool = False,
    ) -> None:
        self.uuid = uuid
        self.name = name
        self.head = b"{}"
        self.tail = b""
        self.child_key = child_key
        self.children = children
        self.names_only = names_only
        self.sort_key: SortKey = ()

    def render(self, fields: dict[str, Any]) -> None:
        """Take new fields, the children's key not among them."""
        if self.children is None:
            self.head = encode(fields)
            return
        before = encode({key: value for key, value in fields.items() if key < self.child_key})[:-1]
        after = encode({key: value for key, value in fields.items() if key > self.child_key})[1:]
        separator = b"" if before == b"{" else b","
        self.head = before + separator + encode(self.child_key) + b":"
        self.tail = after if after == b"}" else b"," + after

    def write(self, parts: list[bytes]) -> None:
        parts.append(self.head)
        if self.children is not None:
            if self.names_only:
                parts.append(encode(self.children.names()))
            else:
                self.children.write(parts)
            parts.append(self.tail)

    def fields(self) -> dict[str, Any]:
        """A map as it is walked into: values are plain, but for the children."""
        if self.children is None:
            plain: dict[str, Any] = msgspec.json.decode(self.head)
            return plain
        plain = msgspec.json.decode(self.head + b"null" + self.tail)
        plain[self.child_key] = self.children.names() if self.names_only else self.children
        return plain


class Shelf:
    """An ordered collection of objects. Written as `null` while empty where the original does so."""

    __slots__ = ("_by_name", "_keys", "_null_when_empty", "nodes")

    def __init__(self, *, null_when_empty: bool = True) -> None:
        self.nodes: list[Node] = []
        self._keys: list[SortKey] = []
        self._null_when_empty = null_when_empty
        self._by_name: dict[str, Node] | None = None

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def is_null(self) -> bool:
        return self._null_when_empty and not self.nodes

    def add(self, node: Node) -> None:
        """Put in at the place of its sort key, which must be unique."""
        at = bisect_left(self._keys, node.sort_key)
        self._keys.insert(at, node.sort_key)
        self.nodes.insert(at, node)
        self._by_name = None

    def remove(self, node: Node) -> None:
        """Take out; the node must still have the sort key it was added with."""
        at = bisect_left(self._keys, node.sort_key)
        if at < len(self.nodes) and self.nodes[at] is node:
            del self._keys[at], self.nodes[at]
            self._by_name = None

    def find(self, name: str) -> Node | None:
        """The first object that has this name or uuid."""
        if self._by_name is None:
            found: dict[str, Node] = {}
            for node in self.nodes:
                if node.name is not None:
                    found.setdefault(node.name, node)
                found.setdefault(node.uuid, node)
            self._by_name = found
        return self._by_name.get(name)

    def names(self) -> list[str | None] | None:
        return None if self.is_null else [node.name for node in self.nodes]

    def write(self, parts: list[bytes]) -> None:
        if not self.nodes:
            parts.append(b"null" if self._null_when_empty else b"[]")
            return
        opening = b"["
        for node in self.nodes:
            parts.append(opening)
            opening = b","
            if node.children is None:
                parts.append(node.head)
            else:
                node.write(parts)
        parts.append(b"]")


def json_parts(value: Any) -> list[bytes]:
    """The JSON of whatever a walk ends at: an object, a collection, a map that holds such, or a plain value.

    In pieces, so that megabytes are copied once, when the response is put together.
    """
    parts: list[bytes] = []
    _write(value, parts)
    return parts


def to_json(value: Any) -> bytes:
    return b"".join(json_parts(value))


def _write(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, Node | Shelf):
        value.write(parts)
        return
    if isinstance(value, dict) and any(isinstance(each, Node | Shelf | dict) for each in value.values()):
        opening = b"{"
        for key in sorted(value):
            parts += (opening, encode(key), b":")
            opening = b","
            _write(value[key], parts)
        parts.append(b"}")
        return
    parts.append(encode(value))
