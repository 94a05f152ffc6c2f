"""From the node of one service to typed settings: unknown keys, wrong types, and the two file versions.

Version 1 has four keys that version 2 writes differently; they are brought into the shape of version 2 here, so that
no later stage knows about versions.
"""

import difflib
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

from drover.compose.errors import Invalid, Problems
from drover.compose.keys import ELSEWHERE, KEYS, MISSPELLINGS, Key
from drover.compose.merge import Draft, Setting, merge_value
from drover.compose.model import Build, Logging
from drover.compose.nodes import Entry, Mapping, Node, is_null
from drover.compose.values import Field

#: A longer key is no misspelling, and is not repeated in full.
MAX_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which keys a file may use. `minor` is true for versions such as 2.3, whose newer keys are only warned about."""

    version: int
    minor: bool = False


def decode_service(
    entry: Entry, *, dialect: Dialect, variables: MappingABC[str, str], problems: Problems
) -> Draft | None:
    """The settings of one service, or None when it is no map at all. Every finding is reported, none is raised."""
    if is_null(entry.value):
        return Draft(entry.key, entry.mark, {})
    if not isinstance(entry.value, Mapping):
        problems.error(entry.mark, f"the service '{entry.key}' must be a map of keys", _shape_hint(entry, dialect))
        return None
    settings: dict[str, Setting] = {}
    for inner in entry.value:
        setting = _decode(inner, entry.key, dialect, variables, problems)
        if setting is not None:
            settings[inner.key] = setting
    return Draft(entry.key, entry.mark, _without_v1_keys(settings))


def _decode(
    entry: Entry, service: str, dialect: Dialect, variables: MappingABC[str, str], problems: Problems
) -> Setting | None:
    key = KEYS.get(entry.key)
    if key is None or (key.only_v1 and dialect.version != 1):
        _report_unknown(entry, key, service, dialect, problems)
        return None
    if key.no_effect:
        problems.warn(entry.mark, f"Service '{service}' configuration key '{key.name}' has no effect", key.no_effect)
        return None
    if is_null(entry.value):
        return None
    try:
        value = key.decode(entry.value, Field(service, key.name, problems, variables))
    except Invalid as invalid:
        problems.add(invalid)
        # It was written, so nobody must be told on top of this that it is missing.
        return Setting(None, entry.mark) if key.name in ("image", "build") else None
    return None if value is None else Setting(value, entry.mark)


def _report_unknown(entry: Entry, key: Key | None, service: str, dialect: Dialect, problems: Problems) -> None:
    message = f"Unsupported config option for {service} service: '{entry.key[:MAX_SHOWN]}'"
    if key is not None:
        problems.error(entry.mark, message, f"in a version 2 file write {key.instead}")
    elif entry.key in ELSEWHERE and dialect.minor:
        problems.warn(entry.mark, f"{message}; it is ignored", ELSEWHERE[entry.key])
    elif entry.key in ELSEWHERE:
        problems.error(entry.mark, message, ELSEWHERE[entry.key])
    else:
        problems.error(entry.mark, message, "" if problems.full else suggest_key(entry.key))


def suggest_key(unknown: str) -> str:
    """`did you mean ...?` for a misspelt key, or nothing."""
    known = MISSPELLINGS.get(unknown)
    if known is None and len(unknown) <= MAX_SHOWN:
        close = difflib.get_close_matches(unknown.lower().replace("-", "_"), list(KEYS), 1, 0.7)
        known = close[0] if close else None
    return f"did you mean '{known}'?" if known else ""


def _without_v1_keys(settings: dict[str, Setting]) -> dict[str, Setting]:
    """The same settings in the shape of version 2."""
    for old, new, shape in (
        ("dockerfile", "build", lambda value: Build(dockerfile=value)),
        ("log_driver", "logging", lambda value: Logging(driver=value)),
        ("log_opt", "logging", lambda value: Logging(options=value)),
        ("net", "network_mode", lambda value: value),
    ):
        setting = settings.pop(old, None)
        if setting is None:
            continue
        value: Any = shape(setting.value)
        present = settings.get(new)
        settings[new] = Setting(merge_value(new, present.value, value) if present else value, setting.mark)
    return settings


def _shape_hint(entry: Entry, dialect: Dialect) -> str:
    if dialect.version == 1 and entry.key in ("services", "volumes", "networks", "secrets"):
        return "add the line version: '2' to use sections"
    return "indent the keys of the service below its name"


def looks_like_version_2(root: Mapping) -> bool:
    """Whether a file without `version` has a `services` section, so that its author surely meant version 2."""
    services: Node | None = root.get("services")
    if not isinstance(services, Mapping) or not len(services):
        return False
    return all(isinstance(entry.value, Mapping) and entry.key not in KEYS for entry in services)
