"""Where the command line remembers server and key: `~/.rancher/cli.json`.

The file and its keys are those of the Rancher CLI, so that both tools work with one configuration. It holds a
secret, therefore it is readable by its owner only, from the first byte on, and replaced in one step.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from drover.common.errors import DroverError

DEFAULT_PATH = "~/.rancher/cli.json"


class ConfigError(DroverError):
    """The configuration file cannot be used."""


@dataclass(frozen=True, slots=True)
class Config:
    """Connection settings; an empty text means "not set"."""

    url: str = ""
    access_key: str = ""
    secret_key: str = ""
    environment: str = ""

    def __repr__(self) -> str:
        return f"Config(url={self.url!r}, access_key={self.access_key!r}, environment={self.environment!r})"


_WIRE_NAMES = {"url": "url", "access_key": "accessKey", "secret_key": "secretKey", "environment": "environment"}


def read_config(path: Path) -> Config:
    """The configuration in `path`; an empty one when the file does not exist. Raises ConfigError."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON file: repair it, or delete it and run `drover login`") from error
    if not isinstance(stored, dict):
        raise ConfigError(f"{path} must hold one JSON object: delete it and run `drover login`")
    return Config(**{field.name: str(stored.get(_WIRE_NAMES[field.name]) or "") for field in fields(Config)})


def write_config(path: Path, config: Config) -> None:
    """Store the configuration, keeping keys that other tools put into the file. Raises ConfigError."""
    kept = _foreign_keys(path)
    values = {_WIRE_NAMES[field.name]: getattr(config, field.name) for field in fields(Config)}
    text = json.dumps({**kept, **values}, indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp creates with mode 0600, so the secret is never readable by others.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".cli-", suffix=".json")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _foreign_keys(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    known = set(_WIRE_NAMES.values())
    return {key: value for key, value in stored.items() if key not in known} if isinstance(stored, dict) else {}
