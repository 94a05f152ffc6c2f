"""How lists are printed.

A list is a sequence of rows; a row has cells for people (the columns) and the resources behind them for programs.
One choice of format serves every list: the default table, `-q` (ids), `json` and `yaml` (one document a row, so
that streams can be read line by line), or a template.

Names, messages and labels come from other users. They are printed to terminals, so control characters, which could
rewrite the screen or its title, are shown as `?`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from drover.cli.exits import UsageError

MIN_CELL = 10
PADDING = 3

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|[\t\n]")
# `{{.ID}}` of the Go templates that scripts bring along becomes `{{ID}}`.
_GO_FIELD = re.compile(r"(\{\{-?\s*(?:\w+\s+)?)\.(?=\w)")
_GO_CALL = re.compile(r"\{\{(-?)\s*(json|endpoint|ips)\s+([\w.]+)\s*(-?)\}\}")


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a list: its id, the cells in the order of the headers, and the resources for `--format`."""

    id: str
    cells: Sequence[Any]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Format:
    """How to print: from `--format` and `--quiet`."""

    quiet: bool = False
    template: str = ""


def print_rows(
    headers: Sequence[str], rows: Iterable[Row], style: Format = Format(), *, stream: TextIO | None = None
) -> None:
    """Print a list in the wanted form."""
    out = stream if stream is not None else sys.stdout
    if style.quiet:
        for row in rows:
            out.write(f"{row.id}\n")
    elif style.template == "json":
        for row in rows:
            out.write(json.dumps(_document(headers, row), ensure_ascii=False) + "\n")
    elif style.template == "yaml":
        for row in rows:
            out.write("---\n" + to_yaml(_document(headers, row)))
    elif style.template:
        render = compile_template(style.template)
        for row in rows:
            out.write(render(_document(headers, row)) + "\n")
    else:
        _print_table(headers, [[printable(cell) for cell in row.cells] for row in rows], out)


def print_value(value: Any, template: str, *, stream: TextIO | None = None) -> None:
    """Print one document as `json` (indented), `yaml`, or through a template."""
    out = stream if stream is not None else sys.stdout
    if template in ("", "json"):
        out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    elif template == "yaml":
        out.write(to_yaml(value))
    else:
        out.write(compile_template(template)(value) + "\n")


def printable(value: Any) -> str:
    """A cell as text that cannot control a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        value = ",".join(f"{key}={item}" for key, item in value.items())
    elif isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return _CONTROL.sub(lambda match: " " if match.group() in "\t\n" else "?", str(value))


def to_yaml(value: Any) -> str:
    """Block-style YAML in the order of the keys."""
    import yaml

    return yaml.dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)


def compile_template(text: str) -> Any:
    """A function from a row's data to text. Raises UsageError for a template with mistakes.

    Templates are Jinja2 in a sandbox: they come from the user, but are often pasted from somewhere. Fields in Go
    notation (`{{.ID}}`, `{{json .Service}}`) are understood as well.
    """
    import jinja2
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
    environment.filters["json"] = environment.globals["json"] = _json
    environment.filters["endpoint"] = environment.globals["endpoint"] = endpoints
    environment.filters["ips"] = environment.globals["ips"] = addresses
    source = _GO_CALL.sub(r"{{\1 \2(\3) \4}}", _GO_FIELD.sub(r"\1", text))
    try:
        template = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise UsageError(f"--format: {error}") from error

    def render(data: Mapping[str, Any]) -> str:
        try:
            return template.render(data)
        except jinja2.TemplateError as error:
            known = ", ".join(sorted(data))
            raise UsageError(f"--format: {error}; known are {known}") from error

    return render


def endpoints(values: Any) -> str:
    """Public endpoints as `ip:port, ip:port`."""
    entries = values if isinstance(values, list) else []
    return ", ".join(f"{entry.get('ipAddress')}:{entry.get('port')}" for entry in entries if isinstance(entry, Mapping))


def addresses(values: Any) -> str:
    """Address resources as a comma list."""
    entries = values if isinstance(values, list) else []
    return ", ".join(str(entry.get("address")) for entry in entries if isinstance(entry, Mapping))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _document(headers: Sequence[str], row: Row) -> dict[str, Any]:
    """Cells under their headers (`NAME` as `Name`, `ID` as `ID`), then the resources."""
    cells = {_key(header): cell for header, cell in zip(headers, row.cells, strict=True)}
    return {**cells, **row.data}


def _key(header: str) -> str:
    if header in ("ID", "IP"):
        return header
    return "".join(word.capitalize() for word in header.replace("-", " ").split())


def _print_table(headers: Sequence[str], rows: list[list[str]], out: TextIO) -> None:
    widths = [
        max(MIN_CELL, PADDING + max(len(line[index]) for line in [list(headers), *rows]))
        for index in range(len(headers))
    ]
    for line in [list(headers), *rows]:
        out.write("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")
