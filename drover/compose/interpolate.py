"""`$VAR` in compose files.

Rancher 1.6 knows `$$`, `$NAME` and `${NAME}`. The operators of docker-compose are understood on top (`:-` `-` `:?` `?`
`:+` `+`); they were errors before, so no valid file changes its meaning. A variable that is not set is empty, with a
warning. `$${stack_name}` comes out as `${stack_name}`, which the scheduler resolves at run time.
"""

import re
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field

from drover.compose.errors import Invalid, Mark, Problems
from drover.compose.nodes import Entry, Mapping, Node, Scalar, Sequence

#: All text that substitution may produce for one project: many uses of one large variable multiply.
MAX_OUTPUT = 4 * 1024 * 1024
_MAX_NESTING = 16

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BRACED_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class _BadSyntax(Exception):
    """The text after a `$` is none of the known forms."""


@dataclass(slots=True)
class Interpolator:
    """Substitutes variables; counts its output over all files of one project."""

    variables: MappingABC[str, str]
    problems: Problems
    _written: int = field(default=0, init=False)

    def node(self, node: Node, key: str) -> Node:
        """The node with all text values substituted; map keys stay as they are."""
        if isinstance(node, Scalar):
            return self._scalar(node, key)
        if isinstance(node, Sequence):
            items = tuple(self.node(item, key) for item in node.items)
            unchanged = all(new is old for new, old in zip(items, node.items, strict=True))
            return node if unchanged else Sequence(items, node.mark)
        return Mapping(
            {name: Entry(name, self.node(entry.value, name), entry.mark) for name, entry in node.entries.items()},
            node.mark,
        )

    def text(self, text: str, key: str, mark: Mark | None) -> str:
        """`text` with variables substituted. Raises `Invalid` for bad syntax and for `${X:?}` without a value."""
        if "$" not in text:
            return text
        try:
            result = self._expand(text, mark, 0)
        except _BadSyntax:
            raise Invalid(
                mark,
                f'Invalid interpolation format for key "{key}": "{_shorten(text)}"',
                "write $$ for a dollar sign, or ${NAME} for a variable",
            ) from None
        self._written += len(result)
        if self._written > MAX_OUTPUT:
            raise Invalid(mark, f"variables expand to more than {MAX_OUTPUT // 1024} KiB", "use shorter variables")
        return result

    def _scalar(self, node: Scalar, key: str) -> Scalar:
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            result = self.text(node.value, key, node.mark)
        except Invalid as invalid:
            self.problems.add(invalid)
            return node
        return Scalar(result, result, node.mark, node.quoted)

    def _expand(self, text: str, mark: Mark | None, nesting: int) -> str:
        if nesting > _MAX_NESTING:
            raise _BadSyntax
        parts: list[str] = []
        position = 0
        while (dollar := text.find("$", position)) >= 0:
            parts.append(text[position:dollar])
            following = text[dollar + 1 : dollar + 2]
            if following == "$":
                parts.append("$")
                position = dollar + 2
            elif following == "{":
                end = _closing_brace(text, dollar + 2)
                parts.append(self._braced(text[dollar + 2 : end], mark, nesting))
                position = end + 1
            elif name := _NAME.match(text, dollar + 1):
                parts.append(self._value(name.group(), mark))
                position = name.end()
            else:
                raise _BadSyntax
        parts.append(text[position:])
        return "".join(parts)

    def _braced(self, inner: str, mark: Mark | None, nesting: int) -> str:
        match = _BRACED_NAME.match(inner)
        if not match:
            raise _BadSyntax
        name, rest = match.group(), inner[match.end() :]
        if not rest:
            return self._value(name, mark)
        operator = next((known for known in _OPERATORS if rest.startswith(known)), None)
        if operator is None:
            raise _BadSyntax
        operand = rest[len(operator) :]
        value = self.variables.get(name)
        present = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-"):
            return value if present and value is not None else self._expand(operand, mark, nesting + 1)
        if operator.endswith("+"):
            return self._expand(operand, mark, nesting + 1) if present else ""
        if present and value is not None:
            return value
        reason = self._expand(operand, mark, nesting + 1) or "it has no value"
        raise Invalid(mark, f"the variable {name} is required: {reason}", f"give {name} a value")

    def _value(self, name: str, mark: Mark | None) -> str:
        value = self.variables.get(name)
        if value is None:
            self.problems.warn(mark, f"the variable {name} is not set; it is replaced by nothing", f"set {name}")
            return ""
        return value


def _closing_brace(text: str, position: int) -> int:
    """Index of the `}` that closes the brace opened before `position`, skipping nested `${...}`."""
    depth = 1
    while position < len(text):
        if text.startswith("$$", position):
            position += 2
            continue
        if text.startswith("${", position):
            depth += 1
            position += 2
            continue
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise _BadSyntax


def _shorten(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."
