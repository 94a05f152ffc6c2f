"""Decoders of single values: a node in, a typed value out, or `Invalid` with the place and a way out.

Variables are always text, so every decoder takes the text of its type where the type itself is expected: `privileged:
${PRIV}` works, which it did not in Rancher 1.6.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any, TypeAlias

from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.nodes import Mapping, Node, Scalar, Sequence, is_decimal, is_null, scalar_text, to_plain


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value stands: which key of which service. `variables` resolves environment entries without value."""

    service: str
    key: str
    problems: Problems
    variables: MappingABC[str, str]

    def wrong_type(self, node: Node, *expected: str) -> Invalid:
        """The error for a value of another type, in the words of docker-compose."""
        return self.invalid(node.mark, f"contains an invalid type, it should be {either(expected)}.")

    def invalid(self, mark: Mark | None, what: str, suggestion: str = "") -> Invalid:
        """An error about this key."""
        return Invalid(mark, f"Service '{self.service}' configuration key '{self.key}' {what}", suggestion)


Decoder: TypeAlias = Callable[[Node, Field], Any]

BOOLEAN = "boolean (true or false)"
INTEGER = "integer"
STRING = "string"
LIST = "list"
MAP = "map"

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+) ?(?:([kmgtp])i?)?b?", re.IGNORECASE | re.ASCII)
_SIZE_EXPONENT = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LETTER_FLAGS = frozenset({"y", "Y", "n", "N"})


def either(expected: Iterable[str]) -> str:
    """`a string or a list`."""
    return " or ".join(f"an {word}" if word[0] in "aeiou" else f"a {word}" for word in expected)


def string(node: Node, field: Field) -> str:
    """Text. Numbers, and letters that YAML reads as booleans, count as spelt (`user: 1000`, `name: n`)."""
    if isinstance(node, Scalar) and node.value is not None:
        if isinstance(node.value, str):
            return node.value
        if not isinstance(node.value, bool) or node.text in _LETTER_FLAGS:
            return node.text
    raise field.wrong_type(node, STRING)


def any_text(node: Node, field: Field) -> str:
    """Text of any scalar."""
    if isinstance(node, Scalar) and node.value is not None:
        return _flag_text(node)
    raise field.wrong_type(node, STRING)


def choice(*known: str) -> Decoder:
    """One of a few words, in any case; empty text counts as absent."""
    by_lower = {word.lower(): word for word in known}

    def decode(node: Node, field: Field) -> str | None:
        text = any_text(node, field)
        if text and text.lower() not in by_lower:
            raise field.invalid(node.mark, f"is '{text[:80]}'.", f"write {', '.join(known)}")
        return by_lower[text.lower()] if text else None

    return decode


def boolean(node: Node, field: Field) -> bool:
    """A YAML boolean, or the text `true` or `false`."""
    if isinstance(node, Scalar):
        if isinstance(node.value, bool):
            return node.value
        if isinstance(node.value, str) and node.value.lower() in ("true", "false"):
            return node.value.lower() == "true"
    raise field.wrong_type(node, BOOLEAN)


def integer(node: Node, field: Field) -> int:
    """A whole number, or its text."""
    if isinstance(node, Scalar) and not isinstance(node.value, bool):
        value = node.value
        if isinstance(value, int):
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
            return int(value)
        if isinstance(value, str) and is_decimal(value.strip()):
            return int(value.strip())
    raise field.wrong_type(node, INTEGER)


def number(node: Node, field: Field) -> float:
    """A number, or its text."""
    if isinstance(node, Scalar) and not isinstance(node.value, bool):
        if isinstance(node.value, int | float):
            return float(node.value)
        if isinstance(node.value, str) and re.fullmatch(r"\d+(\.\d+)?|\.\d+", node.value.strip(), re.ASCII):
            return float(node.value)
    raise field.wrong_type(node, "number")


def integer_within(low: int, high: int) -> Decoder:
    """A whole number between two limits (both included)."""

    def decode(node: Node, field: Field) -> int:
        value = integer(node, field)
        if not low <= value <= high:
            raise field.invalid(node.mark, f"is {value}, but must lie between {low} and {high}.")
        return value

    return decode


def size(node: Node, field: Field) -> int:
    """Bytes: an integer, or text with a unit (`512m`, `1.5g`, `2 GiB`; 1024-based)."""
    if isinstance(node, Scalar) and isinstance(node.value, int) and not isinstance(node.value, bool):
        if node.value < -1:
            raise field.invalid(node.mark, f"is {node.value}, but a size is not negative.")
        return node.value
    text = string(node, field).strip()
    if text == "-1":
        return -1
    match = _SIZE.fullmatch(text)
    if not match or len(text) > 32:
        raise field.invalid(
            node.mark, f"is '{text}', which is not a size.", "write bytes, or a unit such as 512m or 2g"
        )
    factor = 1024 ** _SIZE_EXPONENT[match.group(2).lower()] if match.group(2) else 1
    return int(float(match.group(1)) * factor) if "." in match.group(1) else int(match.group(1)) * factor


def megabytes(node: Node, field: Field) -> int:
    """Megabytes of a virtual machine: a bare number counts megabytes already."""
    text = string(node, field).strip()
    return int(text) if is_decimal(text) else size(node, field) // 1024**2


def seconds(node: Node, field: Field) -> int:
    """Whole seconds from an integer or a Go duration (`1m30s`); fractions are cut off."""
    text = string(node, field).strip()
    if is_decimal(text):
        return int(text)
    if len(text) > 64 or not _DURATION.fullmatch(text):
        raise field.invalid(node.mark, f"is '{text}', which is not a duration.", "write seconds, or for example 1m30s")
    return int(sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text)) + 1e-9)


def string_list(node: Node, field: Field) -> tuple[str, ...]:
    """A list of different texts."""
    if not isinstance(node, Sequence):
        raise field.wrong_type(node, LIST)
    return unique(node, tuple(item_text(item, field) for item in node.items), field)


def string_or_list(node: Node, field: Field) -> tuple[str, ...]:
    """A list of texts, or a single one."""
    if isinstance(node, Sequence):
        return string_list(node, field)
    if isinstance(node, Scalar) and node.value is not None and not isinstance(node.value, bool):
        text = string(node, field)
        return (text,) if text else ()
    raise field.wrong_type(node, STRING, LIST)


def list_from(separator: str) -> Decoder:
    """A list of texts; a map `a: b` counts as the list item `a<separator>b`."""

    def decode(node: Node, field: Field) -> tuple[str, ...]:
        if isinstance(node, Mapping):
            return tuple(e.key if is_null(e.value) else f"{e.key}{separator}{any_text(e.value, field)}" for e in node)
        if isinstance(node, Sequence):
            return string_list(node, field)
        raise field.wrong_type(node, LIST, MAP)

    return decode


def item_text(item: Node, field: Field) -> str:
    """The text of a list item."""
    if isinstance(item, Scalar) and item.value is not None and not isinstance(item.value, bool):
        return string(item, field)
    raise field.invalid(item.mark, f"contains {_show(item)}, which is an invalid type, it should be a string")


def unique(node: Node, values: tuple[str, ...], field: Field) -> tuple[str, ...]:
    """`values`, when no two are equal."""
    if len(set(values)) == len(values):
        return values
    twice = next(value for value, count in Counter(values).items() if count > 1)
    place = node.mark
    if isinstance(node, Sequence) and len(node.items) == len(values):
        place = node.items[len(values) - 1 - values[::-1].index(twice)].mark
    shown = ", ".join(repr(value[:80]) for value in values[:20])
    raise field.invalid(place, f"value [{shown}] has non-unique elements", f"remove the second '{twice[:80]}'")


def words(node: Node, field: Field) -> tuple[str, ...] | None:
    """A command line: a list, or text split as a POSIX shell would. Empty text counts as absent."""
    if isinstance(node, Sequence):
        return tuple(any_text(item, field) for item in node.items)
    if isinstance(node, Mapping) or isinstance(node.value, bool):
        raise field.wrong_type(node, STRING, LIST)
    text = string(node, field)
    try:
        return tuple(shlex.split(text, comments=True)) or None
    except ValueError as error:
        raise field.invalid(
            node.mark, f"cannot be split into words: {error}", "close the quotes, or use a list"
        ) from None


def pairs(node: Node, field: Field) -> dict[str, str | None]:
    """A map of texts, from a map or from a list of `k=v`; None where no value is given."""
    if isinstance(node, Mapping):
        return {entry.key: _pair_value(entry.value, field) for entry in node}
    if not isinstance(node, Sequence):
        raise field.wrong_type(node, MAP, LIST)
    found: dict[str, str | None] = {}
    for item in node.items:
        if not isinstance(item, Scalar) or item.value is None:
            raise field.invalid(item.mark, f"contains {_show(item)}, which is an invalid type, it should be a string")
        name, equals, value = (item.text if item.quoted else _flag_text(item)).partition("=")
        found[name] = value if equals else None
    return found


def _pair_value(node: Node, field: Field) -> str | None:
    if not isinstance(node, Scalar):
        raise field.invalid(node.mark, f"contains {_show(node)}, which is an invalid type, it should be a string")
    return None if node.value is None else _flag_text(node)


def _flag_text(node: Scalar) -> str:
    """Plain `y` and `n` stay letters: every image that reads such a flag wants the letter, not `true`."""
    if not node.quoted and node.text in _LETTER_FLAGS:
        return node.text
    return scalar_text(node.value if node.value is not None else "")


def environment(node: Node, field: Field) -> dict[str, str]:
    """Environment variables; one without value is taken from the variables of the stack, or left out."""
    resolved: dict[str, str] = {}
    for name, value in pairs(node, field).items():
        given = field.variables.get(name) if value is None else value
        if given is not None:
            resolved[name] = given
    return resolved


def labels(node: Node, field: Field) -> dict[str, str]:
    """Labels; one without value is empty."""
    return {name: value or "" for name, value in pairs(node, field).items()}


def options(node: Node, field: Field) -> dict[str, str]:
    """A map of texts; an option without value is empty."""
    return labels(node, field)


def option_map(node: Node, field: Field) -> dict[str, str]:
    """Like `options`, but only from a map."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, MAP)
    return labels(node, field)


def device_numbers(node: Node, field: Field) -> dict[str, int]:
    """Numbers by device, from a map or from a list of `device:number`; numbers may have size units."""
    if isinstance(node, Mapping):
        return {entry.key: size(entry.value, field) for entry in node}
    if not isinstance(node, Sequence):
        raise field.wrong_type(node, LIST, MAP)
    found: dict[str, int] = {}
    for item in node.items:
        device, colon, amount = item_text(item, field).rpartition(":")
        if not colon or not device:
            raise field.invalid(item.mark, f"contains {_show(item)}.", "write device:number, such as /dev/sda:300")
        found[device] = size(Scalar(amount, amount, item.mark), field)
    return found


def free_map(node: Node, field: Field) -> dict[str, Any]:
    """Any map, as it is."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, MAP)
    plain = to_plain(node)
    assert isinstance(plain, dict)
    return plain


def free_map_with_integers(node: Node, field: Field) -> dict[str, Any]:
    """Any map; text that is a decimal integer becomes one (sections whose numbers may come from variables)."""
    if not isinstance(node, Mapping):
        raise field.wrong_type(node, MAP)
    plain = to_plain(node, rescue_integers=True)
    assert isinstance(plain, dict)
    return plain


def _show(node: Node) -> str:
    if isinstance(node, Scalar):
        return "an empty value" if node.value is None else f"'{node.text[:80]}'"
    return "a list" if isinstance(node, Sequence) else "a map"
