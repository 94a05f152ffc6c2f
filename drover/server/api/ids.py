"""Ids as clients see them: ``1i42`` for the container in row 42.

The letters come from the base type and are there for people; when parsed they are not compared with the type, so
``1x42`` means row 42 as well (Rancher 1.6 does the same, and clients mix ``1e5`` and ``1st5``).
"""

from __future__ import annotations

import re

_NUMBERED = re.compile(r"1[A-Za-z]+(\d{1,18})\Z")
_RAW = re.compile(r"1[A-Za-z]+!(.+)\Z", re.DOTALL)
_NUMBER = re.compile(r"\d{1,18}\Z")


def format_id(prefix: str, row_id: int | str | None) -> str | None:
    """The id to show. ``prefix`` is the schema's, e.g. ``1i``; a raw (non-numeric) id follows an exclamation mark."""
    if row_id is None:
        return None
    if isinstance(row_id, str) and not _NUMBER.match(row_id):
        return f"{prefix}!{row_id}"
    return f"{prefix}{row_id}"


def parse_id(text: str, *, plain: bool = False) -> int | str | None:
    """The row number (int) or raw id (str) that a client means, or None if the text is no id.

    Text that begins with a letter is a name and passes unchanged (settings, schemas). Bare numbers are accepted with
    ``plain`` only.
    """
    if match := _NUMBERED.match(text):
        return int(match[1])
    if match := _RAW.match(text):
        return match[1]
    if plain and _NUMBER.match(text):
        return int(text)
    return text if text[:1].isalpha() else None


def parse_row_id(text: str, *, plain: bool = False) -> int | None:
    """The row number that a client means, or None if the text names no row."""
    found = parse_id(text, plain=plain)
    return found if isinstance(found, int) else None
