"""Which compose files, which stack name and which variables `drover up` works with.

The rules are those of the Rancher CLI and docker-compose: files by flag or `COMPOSE_FILE`, else the usual names; the
stack by flag or `COMPOSE_PROJECT_NAME`, else the folder's name; variables from the env file first, then the
environment of the process, in which an empty variable counts as unset.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drover.cli.exits import UsageError

if TYPE_CHECKING:
    from drover.compose import SourceFile

DEFAULT_FILE = "docker-compose.yml"
OVERRIDE_FILE = "docker-compose.override.yml"
RANCHER_FILE = "rancher-compose.yml"


@dataclass(frozen=True, slots=True)
class ComposeSources:
    """The texts of one stack and its name."""

    files: tuple[SourceFile, ...]
    rancher_files: tuple[SourceFile, ...]
    stack_name: str


class LocalFiles:
    """Files next to the compose file, for `env_file`, `extends` and secrets."""

    def read(self, path: str) -> bytes:
        return Path(path).expanduser().read_bytes()

    def absolute(self, path: str) -> str:
        return str(Path(path).expanduser().absolute())


def read_sources(
    files: Sequence[str], rancher_file: str | None, stack: str | None, environ: Mapping[str, str] = os.environ
) -> ComposeSources:
    """Find and read the files. Raises UsageError when there is nothing to read."""
    paths = [part for value in files for part in value.split(os.pathsep) if part]
    if not paths:
        paths = [part for part in environ.get("COMPOSE_FILE", "").split(os.pathsep) if part]
    if not paths:
        paths = [name for name in (DEFAULT_FILE, OVERRIDE_FILE) if Path(name).exists()]
    folder = Path(paths[0]).parent if paths and paths[0] != "-" else Path()
    rancher_path = Path(rancher_file) if rancher_file else folder / RANCHER_FILE
    rancher = [str(rancher_path)] if rancher_file or rancher_path.exists() else []
    if not paths and not rancher:
        raise UsageError(f"there is no {DEFAULT_FILE} here: name a file with -f")
    return ComposeSources(
        files=tuple(_read(path) for path in paths),
        rancher_files=tuple(_read(path) for path in rancher if path not in paths),
        stack_name=stack_name(stack or environ.get("COMPOSE_PROJECT_NAME") or folder.absolute().name),
    )


def stack_name(text: str) -> str:
    """A name that the API accepts: lower case, other characters than letters and digits become `-`."""
    prefixed = f"x{text}" if text[:1] in ("_", ".", "-") else text
    name = re.sub(r"[^a-z0-9-]", "-", prefixed.lower())
    if not name:
        raise UsageError("the folder has no name to call the stack by: give one with -s")
    return name


def variables(env_file: str | None, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Answers for `$NAME`: the env file over the environment."""
    present = {name: value for name, value in environ.items() if value != ""}
    return {**present, **(read_env_file(env_file) if env_file else {})}


def read_env_file(path: str) -> dict[str, str]:
    """`KEY=VALUE` lines, or a map of scalars in a `.yml`, `.yaml` or `.json` file. Raises UsageError."""
    text = _read(path).text
    if Path(path).suffix not in (".yml", ".yaml", ".json"):
        lines = (line.strip() for line in text.splitlines())
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name.strip(): value for name, _, value in pairs}
    import yaml

    try:
        document = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"{path} must hold a map of names to values")
    return {str(name): _scalar(path, name, value) for name, value in document.items()}


def _scalar(path: str, name: Any, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"{path}: the value of {name} must be a text or a number")


def _read(path: str) -> SourceFile:
    from drover.compose import SourceFile

    try:
        if path == "-":
            return SourceFile("<stdin>", sys.stdin.read())
        return SourceFile(path, Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
