"""The parsed text: scalars, lists and maps that remember where they stood.

All later stages (interpolation, validation, decoding) work on these nodes instead of plain Python values, because a
plain value has forgotten its line. Nodes are immutable, so aliases of one anchor share them.
"""

from collections.abc import Iterator
from math import isinf, isnan
from typing import TypeAlias

import msgspec

from drover.compose.errors import Mark

Atom: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Atom | list[Plain] | dict[str, Plain]"


class Scalar(msgspec.Struct, frozen=True):
    """A single value. `text` is the source spelling; `quoted` is true for anything but a plain scalar."""

    value: Atom
    text: str
    mark: Mark
    quoted: bool = False


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple["Node", ...]
    mark: Mark


class Entry(msgspec.Struct, frozen=True):
    """One key of a map with its value; `mark` is the place of the key."""

    key: str
    value: "Node"
    mark: Mark


class Mapping(msgspec.Struct, frozen=True):
    """A map with text keys, in source order."""

    entries: dict[str, Entry]
    mark: Mark

    def get(self, key: str) -> "Node | None":
        """The value of `key`, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __len__(self) -> int:
        return len(self.entries)


Node: TypeAlias = Scalar | Sequence | Mapping


def is_null(node: Node | None) -> bool:
    """Whether a key has no value: absent, or written with nothing (or `~`, `null`) behind the colon."""
    return node is None or (isinstance(node, Scalar) and node.value is None)


def scalar_text(value: str | int | float | bool) -> str:
    """A scalar as the text that a container sees, in the formatting of Rancher 1.6 (Go's default).

    Booleans become `true`/`false`; floats take their shortest form, with an exponent below 1e-4 and from 1e21 up.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _float_text(value)


def _float_text(value: float) -> str:
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent_text = f"{value!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(exponent_text or 0) + len(whole) - 1
    if whole.strip("0") == "":
        exponent -= len(fraction) - len(fraction.lstrip("0")) + 1
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0"
    if exponent < -4 or exponent >= 21:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return f"{sign}{digits}{'0' * (exponent + 1 - len(digits))}"
    return f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def to_plain(node: Node, *, rescue_integers: bool = False) -> Plain:
    """The node as JSON-like values.

    With `rescue_integers`, text that is a plain decimal integer becomes one: variables are always text, and this is
    what lets `mtu: ${MTU}` reach a driver as a number (as in Rancher 1.6).
    """
    if isinstance(node, Scalar):
        value = node.value
        if rescue_integers and isinstance(value, str) and is_decimal(value):
            return int(value)
        return value
    if isinstance(node, Sequence):
        return [to_plain(item, rescue_integers=rescue_integers) for item in node.items]
    return {entry.key: to_plain(entry.value, rescue_integers=rescue_integers) for entry in node}


def is_decimal(text: str) -> bool:
    """Whether the text is a decimal integer with an optional sign, and of a size that fits 64 bits."""
    digits = text[1:] if text[:1] in "+-" else text
    return 0 < len(digits) < 19 and digits.isascii() and digits.isdigit()
