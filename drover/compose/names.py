"""Names that the API accepts."""

import re

_OUTSIDE = re.compile(r"[^a-zA-Z0-9-]+", re.ASCII)


def api_name(text: str) -> str:
    """The nearest name that the API accepts for a service or a stack: 1 to 63 letters, digits and inner hyphens."""
    return _OUTSIDE.sub("-", text).strip("-")[:63].strip("-") or "service"


def stack_name(text: str) -> str:
    """The stack name for a folder or a value of COMPOSE_PROJECT_NAME, as Rancher 1.6 derives it.

    Lower case; each character outside `[a-z0-9-]` becomes a hyphen; a leading `_`, `.` or `-` gets an `x` in front.
    """
    prefix = "x" if text[:1] in ("_", ".", "-") else ""
    return prefix + re.sub(r"[^a-z0-9-]", "-", text.lower(), flags=re.ASCII)
