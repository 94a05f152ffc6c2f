"""The templates that are part of this program: infrastructure stacks, and the sets of them an environment begins with.

They lie in the package (``drover/templates``) as a catalog repository would have them: a folder a template, in it a
folder a version, numbered. ``catalog://library:infra*vxlan:0`` names version folder 0 of the stack ``vxlan``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

import drover

CATALOG = "library"
_SCHEME = "catalog://"
_FOLDER = Path(drover.__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class StackTemplate:
    """The newest version of an infrastructure stack. The texts are Compose files with variables."""

    name: str
    version: int
    docker_compose: str
    rancher_compose: str

    @property
    def id(self) -> str:
        """The same for all versions: ``library:infra*vxlan``."""
        return f"{CATALOG}:infra*{self.name}"

    @property
    def external_id(self) -> str:
        """What a stack remembers of where it came from."""
        return f"{_SCHEME}{self.id}:{self.version}"


@dataclass(frozen=True, slots=True)
class EnvironmentTemplate:
    """A set of stacks for new environments; ``stacks`` are entries of the API type ``catalogTemplate``."""

    name: str
    description: str
    external_id: str
    stacks: Sequence[Mapping[str, Any]]


@cache
def stack_templates() -> Mapping[str, StackTemplate]:
    """The infrastructure stacks by their id, such as ``library:infra*vxlan``."""
    found = (_stack_template(folder) for folder in _folders("infra-templates"))
    return MappingProxyType({template.id: template for template in found})


@cache
def environment_templates() -> Sequence[EnvironmentTemplate]:
    return tuple(_environment_template(folder) for folder in _folders("project-templates"))


def template_of(external_id: str | None) -> StackTemplate | None:
    """The built-in template, in its newest version, that a stack with this external id was made from."""
    if external_id is None or not external_id.startswith(_SCHEME):
        return None
    return stack_templates().get(external_id.removeprefix(_SCHEME).rpartition(":")[0])


def _stack_template(folder: Path) -> StackTemplate:
    newest = _newest(folder)
    docker, rancher = ((newest / f"{name}-compose.yml").read_text(encoding="utf-8") for name in ("docker", "rancher"))
    return StackTemplate(folder.name, int(newest.name), docker, rancher)


def _environment_template(folder: Path) -> EnvironmentTemplate:
    newest = _newest(folder)
    read = yaml.safe_load((newest / "project.yml").read_text(encoding="utf-8"))
    return EnvironmentTemplate(
        name=str(read["name"]),
        description=str(read["description"]),
        external_id=f"{_SCHEME}{CATALOG}:project*{folder.name}:{newest.name}",
        stacks=tuple(read["stacks"] or ()),
    )


def _newest(folder: Path) -> Path:
    return max((each for each in folder.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))


def _folders(kind: str) -> list[Path]:
    return sorted(each for each in (_FOLDER / kind).iterdir() if each.is_dir())
