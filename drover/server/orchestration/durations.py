"""Durations from settings, fine enough for laboratories that want everything in milliseconds."""

from __future__ import annotations

from drover.server.orchestration.settings import Settings
from drover.server.resources.settings import SETTINGS


def seconds(settings: Settings, name: str) -> float:
    """The setting in seconds. Fractions (``0.05``) and texts with a unit (``50ms``, ``2s``) are understood.

    A setting whose name ends in ``millis`` or ``ms`` counts in milliseconds when no unit is given; a text that is no
    duration falls back to the packaged default.
    """
    default = SETTINGS[name].default if name in SETTINGS else "0"
    for text in (settings.get(name), default):
        found = _parse(text.strip().lower(), name)
        if found is not None:
            return found
    return 0.0


def _parse(text: str, name: str) -> float | None:
    factor = 0.001 if name.endswith((".millis", ".ms", "ping.timeout")) else 1.0
    if text.endswith("ms"):
        text, factor = text[:-2], 0.001
    elif text.endswith("s"):
        text, factor = text[:-1], 1.0
    try:
        return float(text) * factor
    except ValueError:
        return None
