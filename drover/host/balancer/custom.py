"""The extra HAProxy text of a balancer's owner, split into sections that are merged into the generated ones.

The text itself is the owner's responsibility and is checked by HAProxy before it is used. What generated and written
lines say about the same thing is settled here: the written line wins, and ``no <key>`` removes a generated one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_SECTIONS = frozenset(
    {
        *("backend", "defaults", "frontend", "global", "listen", "userlist", "peers", "mailers"),
        *("resolvers", "program", "http-errors", "cache", "ring", "log-forward", "fcgi-app"),
    }
)
_SERVER = "server $IP"


class CustomTextError(ValueError):
    """Text that belongs to no section."""


@dataclass(slots=True)
class Section:
    """The lines of a section, in order and trimmed, and what is appended to its ``server`` lines."""

    lines: list[str] = field(default_factory=list)
    server_parameters: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Custom:
    """Sections by header, such as ``backend web``. A header that occurs twice is one section."""

    sections: dict[str, Section] = field(default_factory=dict)

    def lines(self, header: str) -> Sequence[str]:
        section = self.sections.get(header)
        return section.lines if section is not None else ()

    def server_parameters(self, header: str) -> Sequence[str]:
        section = self.sections.get(header)
        return section.server_parameters if section is not None else ()

    def others(self, known: Iterable[str]) -> list[tuple[str, Sequence[str]]]:
        """Sections that are merged into none of the ``known`` ones, by header."""
        merged = {"global", "defaults", "backend", *known}
        return [(header, each.lines) for header, each in sorted(self.sections.items()) if header not in merged]


def parse_custom(text: str) -> Custom:
    """Raises CustomTextError for lines in front of the first section."""
    sections: dict[str, Section] = {}
    current: Section | None = None
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        word, _, rest = line.partition(" ")
        if word.lower() in _SECTIONS:
            current = sections.setdefault(f"{word} {rest.strip()}".strip(), Section())
        elif current is None:
            if not line.startswith("#"):
                raise CustomTextError(
                    f"custom configuration: {line!r} belongs to no section; "
                    "begin with a line such as 'global', 'defaults', 'frontend 80' or 'backend'"
                )
        elif line == _SERVER or line.startswith(_SERVER + " "):
            current.server_parameters.append(line[len(_SERVER) :].strip())
        else:
            current.lines.append(line)
    return Custom(sections)


def merge(written: Sequence[str], generated: Iterable[tuple[str, str]]) -> list[str]:
    """The written lines, then by name the generated ones (key, value) that no written line replaces or removes."""
    kept = [
        f"{key} {value}".strip()
        for key, value in generated
        if not any(line == key or line == f"no {key}" or line.startswith(f"{key} ") for line in written)
    ]
    # A "no option ..." that only takes a generated line away would be harmless to keep, and HAProxy knows it.
    return [*written, *sorted(kept)]
