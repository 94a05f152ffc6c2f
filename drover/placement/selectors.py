"""Label selectors: ``tier=web, zone in (a, b)`` as one predicate over labels.

Grammar of Rancher 1.6: requirements separated by commas, all of which must hold; ``key = value``, ``key != value``
(the key must exist), ``key in (a, b)``, ``key notin (a, b)`` and ``key`` alone. Case does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_VALUE = r"[A-Za-z0-9._/:@+-]*"
_COMPARED = re.compile(rf"({_NAME})\s*(!=|==|=)\s*({_VALUE})\Z")
_LISTED = re.compile(rf"({_NAME})\s+(in|notin)\s*\(\s*({_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)\Z", re.IGNORECASE)
_PRESENT = re.compile(rf"({_NAME})\Z")
_LONGEST = 4096


class SelectorError(ValueError):
    """Text that is no selector; the message names the part that cannot be read."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. ``values`` empty: the label must exist."""

    key: str
    wanted: bool
    values: frozenset[str]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """``labels`` with lower-case keys and values."""
        found = labels.get(self.key)
        if found is None:
            return False
        return not self.values or (found in self.values) is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, object] | None) -> bool:
        lowered = {str(key).lower(): str(value).lower() for key, value in (labels or {}).items()}
        return bool(self.requirements) and all(each.holds(lowered) for each in self.requirements)


@lru_cache(maxsize=1024)
def parse_selector(text: str) -> Selector:
    """The selector that a text means. Blank text is a selector that matches nothing. Raises SelectorError."""
    if len(text) > _LONGEST:
        raise SelectorError(f"a selector may have at most {_LONGEST} characters")
    return Selector(tuple(_requirement(part) for part in _parts(text)))


def _parts(text: str) -> list[str]:
    """Split at the commas outside of parentheses."""
    parts, start, depth = [], 0, 0
    for index, char in enumerate(text):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    stripped = [part.strip() for part in parts]
    if stripped == [""]:
        return []
    if "" in stripped:
        raise SelectorError(f"{text!r} has an empty requirement; remove the extra comma")
    return stripped


def _requirement(part: str) -> Requirement:
    if match := _COMPARED.match(part):
        return Requirement(match[1].lower(), match[2] != "!=", frozenset({match[3].lower()}))
    if match := _LISTED.match(part):
        values = frozenset(each.strip().lower() for each in match[3].split(","))
        return Requirement(match[1].lower(), match[2].lower() == "in", values)
    if match := _PRESENT.match(part):
        return Requirement(match[1].lower(), True, frozenset())
    raise SelectorError(f"{part!r} is no requirement; write key=value, key!=value, key in (a, b), key notin (a) or key")
