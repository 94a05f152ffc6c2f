"""Typed settings of a program: one frozen dataclass, read once from flags and environment.

A program declares its settings as data::

    @dataclass(frozen=True, slots=True)
    class AgentSettings:
        url: str = setting(help="Address of the server.")
        ping_seconds: float = setting(default=5.0, help="Seconds between pings.")

`load_settings(AgentSettings, flags={...})` takes each field from the flags, else from the environment
(`DROVER_PING_SECONDS`), else from its default. `describe` lists the fields with their flag, variable, type
and help text; the command line builds `--help` from it, so that flag, variable and documentation cannot
disagree.
"""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from drover.common.errors import SettingsError

PREFIX = "DROVER_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

T = TypeVar("T")


def setting(
    *,
    default: Any = dataclasses.MISSING,
    help: str = "",  # noqa: A002 - reads as the keyword of every option library
    env: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Without `default` the setting is required. `env` names further variables that are read after
    `DROVER_<FIELD>`, for example those of the original's agent. `secret` hides the value wherever settings
    are printed.
    """
    metadata = {"help": help, "env": tuple(env), "secret": secret}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting as the command line shows it."""

    name: str
    annotation: Any
    default: Any
    required: bool
    help: str
    environment: tuple[str, ...]
    secret: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values allowed, when they can be listed."""
        plain = _without_none(self.annotation)
        if get_origin(plain) is Literal:
            return tuple(str(value) for value in get_args(plain))
        if isinstance(plain, type) and issubclass(plain, Enum):
            return tuple(str(member.value) for member in plain)
        return ()

    @property
    def repeated(self) -> bool:
        return get_origin(_without_none(self.annotation)) in (tuple, list)

    @property
    def is_switch(self) -> bool:
        return _without_none(self.annotation) is bool


def describe(cls: type, *, prefix: str = PREFIX) -> tuple[SettingField, ...]:
    """The fields of a settings dataclass that text can set; others (nested objects, callables) are left
    out.
    """
    hints = get_type_hints(cls)
    return tuple(
        SettingField(
            name=field.name,
            annotation=hints[field.name],
            default=_default_of(field),
            required=field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
            help=str(field.metadata.get("help", "")),
            environment=(prefix + field.name.upper(), *field.metadata.get("env", ())),
            secret=bool(field.metadata.get("secret", False)),
        )
        for field in dataclasses.fields(cls)
        if field.init and _is_textual(hints[field.name])
    )


def load_settings(
    cls: type[T],
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    prefix: str = PREFIX,
) -> T:
    """Build the settings: a flag that is not None wins over the environment, which wins over the default.

    Raises SettingsError, which names the flag and the variable, for a missing or unusable value.
    """
    variables = os.environ if environ is None else environ
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    values: dict[str, object] = {}
    for field in describe(cls, prefix=prefix):
        if field.name in given:
            values[field.name] = _convert(field, given.pop(field.name), field.flag)
            continue
        variable = next((name for name in field.environment if variables.get(name)), None)
        if variable is not None:
            values[field.name] = _convert(field, variables[variable], variable)
        elif field.required:
            raise SettingsError(f"{field.flag} is required: give the flag or set {field.environment[0]}")
    if given:
        raise SettingsError(f"{cls.__name__} has no setting named {', '.join(sorted(given))}")
    return cls(**values)


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None


def _convert(field: SettingField, value: object, source: str) -> object:
    try:
        return _parse(field.annotation, value)
    except ValueError as error:
        raise SettingsError(f"{source}: {error}") from error


def _parse(annotation: Any, value: object) -> object:
    plain = _without_none(annotation)
    origin = get_origin(plain)
    if origin in (tuple, list):
        parts = value.split(",") if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        item = get_args(plain)[0]
        return origin(_parse(item, part.strip() if isinstance(part, str) else part) for part in parts if part != "")
    if not isinstance(value, str):
        return plain(value) if plain in (Path, float) else value
    if origin is Literal:
        return _choose(value, get_args(plain))
    if isinstance(plain, type) and issubclass(plain, Enum):
        return plain(_choose(value, tuple(member.value for member in plain)))
    if plain is bool:
        return _parse_bool(value)
    if plain in (int, float):
        try:
            return plain(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
    return plain(value)


def _choose(value: str, allowed: tuple[Any, ...]) -> Any:
    for option in allowed:
        if str(option) == value:
            return option
    raise ValueError(f"{value!r} is not one of {', '.join(str(option) for option in allowed)}")


def _parse_bool(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _without_none(annotation: Any) -> Any:
    """`X | None` says that the setting may be absent; its text form is that of X."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return annotation


def _is_textual(annotation: Any) -> bool:
    plain = _without_none(annotation)
    origin = get_origin(plain)
    if origin is Literal:
        return True
    if origin in (tuple, list):
        arguments = get_args(plain)
        return bool(arguments) and _is_textual(arguments[0])
    return isinstance(plain, type) and (plain in (str, int, float, bool, Path) or issubclass(plain, Enum))
