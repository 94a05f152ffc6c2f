"""From JSON, form or query text to the values that are stored, one converter per kind of field.

The rules are those of Rancher 1.6: numbers from numeric text, booleans from ``yes`` and ``on``, a scalar for a list
of one. Every refusal names the field and says what would be accepted.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from drover.common.clock import now_ms
from drover.server.api.errors import ApiError, invalid

_TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})
_FALSE = frozenset({"false", "no", "off", "0", "f", "n"})
_INT_LIMIT = 2**63
_LATEST = 253402300799999  # the last millisecond of the year 9999


def shorten(value: Any) -> str:
    """A value as it may stand in a message."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def wrong_format(field_name: str, value: Any, wanted: str) -> ApiError:
    return invalid("InvalidFormat", field_name, f"{field_name} must be {wanted}", detail=shorten(value))


def to_int(field_name: str, value: Any) -> int:
    if isinstance(value, bool):
        raise wrong_format(field_name, value, "a whole number")
    if isinstance(value, str):
        try:
            value = int(value.strip()) if len(value) <= 32 else math.nan
        except ValueError:
            value = math.nan
    if isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            raise wrong_format(field_name, value, "a whole number")
        value = int(value)
    if not isinstance(value, int) or not -_INT_LIMIT <= value < _INT_LIMIT:
        raise wrong_format(field_name, value, "a whole number of at most 64 bits")
    return value


def to_float(field_name: str, value: Any) -> float:
    if isinstance(value, bool | dict | list):
        raise wrong_format(field_name, value, "a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise wrong_format(field_name, value, "a number") from None
    if not math.isfinite(found):
        raise wrong_format(field_name, value, "a finite number")
    return found


def to_bool(field_name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | int | float):
        text = str(value).strip().lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
    raise wrong_format(field_name, value, "true or false")


def to_text(field_name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        if "\0" in value or _has_surrogate(value):
            raise invalid("InvalidCharacters", field_name, f"{field_name} may not contain NUL or broken Unicode")
        return value
    raise wrong_format(field_name, value, "text")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False


def to_date(field_name: str, value: Any) -> int | None:
    """Epoch milliseconds from a number, ISO text or ``now``; None from blank text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = to_int(field_name, value)
        if 0 <= found <= _LATEST:
            return found
    elif isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if text == "now":
            return now_ms()
        if text.isascii() and text.isdigit() and len(text) > 8:
            return to_date(field_name, int(text))
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            parsed = None
        if parsed is not None:
            return max(0, int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000))
    raise invalid(
        "InvalidDateFormat",
        field_name,
        f"{field_name} must be a date such as 2024-05-01T10:00:00Z or milliseconds since 1970",
        detail=shorten(value),
    )


def to_json(field_name: str, value: Any) -> Any:
    """Free JSON is stored as it is; only what a database cannot hold is refused."""
    if isinstance(value, str):
        return to_text(field_name, value)
    if isinstance(value, dict):
        return {to_text(field_name, key): to_json(field_name, each) for key, each in value.items()}
    if isinstance(value, list):
        return [to_json(field_name, each) for each in value]
    if isinstance(value, int) and not -_INT_LIMIT <= value < 2 * _INT_LIMIT:
        raise wrong_format(field_name, value, "made of numbers of at most 64 bits")
    return value


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
