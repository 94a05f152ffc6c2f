"""YAML as compose files of Rancher 1.6 use it: the dialect of go-yaml v2, which is YAML 1.1 with exceptions.

Where Python's YAML 1.1 reading differs, stacks would break: an unquoted port mapping `22:22` is text (not the base-60
number 1342), a date is text, `y` is a boolean, `0o17` and `010` are octal, and of two equal keys the last one wins.

Only libyaml's event parser is used; values are built here, which gives a line and column for every key and lets limits
act before memory is spent: size of the text, depth, and the number of nodes after aliases are expanded ("YAML bombs").
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from typing import Any

import yaml

from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.nodes import Atom, Entry, Mapping, Node, Scalar, Sequence

#: The largest public catalog item has 60 kB; one MiB leaves room for long metadata.
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 100_000

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_SPECIAL_FLOATS = {
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "binary", "timestamp", "merge")
)


def parse(text: str, *, file: str, problems: Problems) -> Mapping:
    """The first document of `text` as a map; an empty document is an empty map.

    Raises `Invalid` when the text cannot be read at all. Duplicate keys are reported as warnings.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Invalid(Mark(file, 1, 1), f"the file is larger than {MAX_BYTES // 1024} KiB", "split the stack")
    reader = _Reader(text, file, problems)
    try:
        root = reader.document()
    except yaml.YAMLError as error:
        raise _syntax_error(error, file) from None
    except UnicodeEncodeError:
        raise Invalid(Mark(file, 1, 1), "the file is not valid UTF-8 text") from None
    if root is None or (isinstance(root, Scalar) and root.value is None):
        return Mapping({}, Mark(file, 1, 1))
    if not isinstance(root, Mapping):
        raise Invalid(root.mark, "a compose file must be a map of services or of sections", "see docs/compose.md")
    return root


def resolve_scalar(text: str) -> Atom:
    """The value of a plain (unquoted) scalar."""
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "+-.0123456789":
        return text
    if text in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[text]
    return _number(text)


def _number(text: str) -> Atom:
    digits = text.replace("_", "")
    if len(digits) > 400:
        return text
    match = _INTEGER.fullmatch(digits)
    if match:
        value = _integer(match)
        if -(2**63) <= value < 2**64:
            return value
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        return text if number in (float("inf"), float("-inf")) else number
    return text


def _integer(match: re.Match[str]) -> int:
    sign, hexadecimal, binary, octal, decimal = match.groups()
    if hexadecimal is not None:
        value = int(hexadecimal, 16)
    elif binary is not None:
        value = int(binary, 2)
    elif octal is not None:
        value = int(octal, 8)
    else:
        value = int(decimal)
    return -value if sign == "-" else value


def _syntax_error(error: yaml.YAMLError, file: str) -> Invalid:
    place: Any = getattr(error, "problem_mark", None)
    mark = Mark(file, place.line + 1, place.column + 1) if place is not None else Mark(file, 1, 1)
    detail = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    message = f"not valid YAML: {detail}" + (f" {context}" if context else "")
    suggestion = ""
    if "cannot start any token" in message and "tab" not in message:
        suggestion = "indent with spaces, not tabs, and quote values that begin with @, `, % or a tab"
    return Invalid(mark, message, suggestion)


class _Reader:
    """Builds nodes from parser events, counting what it spends."""

    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.CLoader))
        self._file = file
        self._problems = problems
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._nodes = 0

    def document(self) -> Node | None:
        """The root of the first document; later documents are not read."""
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                node, _ = self._node(next(self._events), 1)
                return node
        return None

    def _mark(self, event: Any) -> Mark:
        start = event.start_mark
        return Mark(self._file, start.line + 1, start.column + 1)

    def _spend(self, count: int, event: Any) -> None:
        self._nodes += count
        if self._nodes > MAX_NODES:
            raise Invalid(
                self._mark(event),
                f"the file has more than {MAX_NODES} values once aliases are expanded",
                "use fewer aliases",
            )

    def _check_depth(self, depth: int, event: Any) -> None:
        if depth > MAX_DEPTH:
            raise Invalid(self._mark(event), f"values are nested deeper than {MAX_DEPTH} levels")

    def _node(self, event: Any, depth: int) -> tuple[Node, int]:
        """A node and its height (1 for a scalar)."""
        self._check_depth(depth, event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._spend(1, event)
        before = self._nodes
        tag = event.tag
        if tag is not None and tag != "!" and tag not in _KNOWN_TAGS:
            raise Invalid(self._mark(event), f"the YAML tag '{tag}' is not supported", "remove the tag")
        height = 1
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node, height = self._sequence(event, depth)
        else:
            node, height = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = (node, self._nodes - before + 1, height)
        return node, height

    def _alias(self, event: Any, depth: int) -> tuple[Node, int]:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise Invalid(
                self._mark(event),
                f"the alias '*{event.anchor}' has no anchor before it, or stands inside its own anchor",
                f"define '&{event.anchor}' earlier in the file",
            )
        node, size, height = found
        self._spend(size, event)
        self._check_depth(depth + height - 1, event)
        return node, height

    def _scalar(self, event: Any) -> Scalar:
        mark = self._mark(event)
        text: str = event.value
        tag = event.tag
        if tag is None:
            return Scalar(resolve_scalar(text), text, mark) if event.implicit[0] else Scalar(text, text, mark, True)
        if tag == _TAG + "binary":
            return Scalar(_binary(text, mark), text, mark, True)
        if tag in ("!", _TAG + "str", _TAG + "timestamp"):
            return Scalar(text, text, mark, True)
        return Scalar(resolve_scalar(text), text, mark)

    def _sequence(self, start: Any, depth: int) -> tuple[Sequence, int]:
        items: list[Node] = []
        height = 0
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            node, below = self._node(event, depth + 1)
            height = max(height, below)
            items.append(node)
        return Sequence(tuple(items), self._mark(start)), height + 1

    def _mapping(self, start: Any, depth: int) -> tuple[Mapping, int]:
        entries: dict[str, Entry] = {}
        merged: list[Mapping] = []
        height = 0
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, mark, merges = self._key(event, depth)
            node, below = self._node(next(self._events), depth + 1)
            height = max(height, below)
            if merges:
                merged.extend(self._merge_sources(node))
                continue
            if key in entries:
                self._problems.warn(
                    mark,
                    f"the key '{key}' stands here a second time; the last value counts",
                    f"remove the one at line {entries[key].mark.line}",
                )
            entries[key] = Entry(key, node, mark)
        for source in merged:
            for entry in source:
                entries.setdefault(entry.key, entry)
        return Mapping(entries, self._mark(start)), height + 1

    def _key(self, event: Any, depth: int) -> tuple[str, Mark, bool]:
        mark = self._mark(event)
        if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            node, _ = self._node(event, depth + 1)
            if isinstance(node, Scalar):
                return node.text, mark, node.text == "<<" and not node.quoted
        raise Invalid(
            mark,
            "invalid map key: a key must be a word, not a list or a map",
            "text in {{ }} must be quoted, or is a template that was not rendered",
        )

    def _merge_sources(self, node: Node) -> list[Mapping]:
        sources = list(node.items) if isinstance(node, Sequence) else [node]
        found = [source for source in sources if isinstance(source, Mapping)]
        if len(found) != len(sources):
            raise Invalid(node.mark, "the merge key '<<' needs a map, or a list of maps", "use '<<: *anchor'")
        return found


def _binary(text: str, mark: Mark) -> str:
    try:
        return b64decode(text, validate=False).decode()
    except (Base64Error, UnicodeDecodeError):
        raise Invalid(mark, "the !!binary value is not base64 of UTF-8 text") from None
