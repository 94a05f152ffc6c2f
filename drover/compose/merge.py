"""How two settings of one service become one: between files, and between a base service and the one extending it.

Lists are joined without duplicates, maps and sections are united key by key (the right side wins), everything else is
replaced. `command` and `entrypoint` are replaced although they are lists. An explicit value always counts, also
`false`, `0` and `[]` (which empties the list). Rancher 1.6 joined commands, doubled ports, lost `lb_config` as soon as
another file mentioned the service, and could not reset anything; none of that is repeated here.
"""

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Any

import msgspec

from drover.compose.errors import Mark
from drover.compose.keys import KEYS, Merge


@dataclass(frozen=True, slots=True)
class Setting:
    """A decoded value and the place of its key."""

    value: Any
    mark: Mark


@dataclass(frozen=True, slots=True)
class Draft:
    """A service while it is put together from files and base services."""

    name: str
    mark: Mark
    settings: MappingABC[str, Setting]

    def value(self, key: str) -> Any:
        """The value of a key, or None."""
        setting = self.settings.get(key)
        return setting.value if setting else None

    def mark_of(self, key: str) -> Mark:
        """The place of a key, or of the service when the key is absent."""
        setting = self.settings.get(key)
        return setting.mark if setting else self.mark


def merge(left: Draft, right: Draft) -> Draft:
    """`left` with everything that `right` sets. The result stands where `left` stood."""
    settings = dict(left.settings)
    for key, setting in right.settings.items():
        below = settings.get(key)
        settings[key] = Setting(merge_value(key, below.value, setting.value), setting.mark) if below else setting
    return Draft(left.name, left.mark, settings)


def extend(base: Draft, service: Draft) -> Draft:
    """`service` with everything it does not set itself taken from `base`.

    Of `image` and `build` only those of the extending service stay, if it sets one.
    """
    inherited = dict(base.settings)
    if "image" in service.settings or "build" in service.settings:
        inherited.pop("image", None)
        inherited.pop("build", None)
    merged = merge(Draft(service.name, service.mark, inherited), service)
    return Draft(service.name, service.mark, merged.settings)


def merge_value(key: str, left: Any, right: Any) -> Any:
    """One value of `key` from two."""
    rule = KEYS[key].merge
    if rule is Merge.CONCATENATE and left is not None and right:
        return _join(left, right)
    if rule is Merge.UNITE and left is not None and right is not None:
        return _unite(left, right)
    return right


def _join(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple({_identity(item): item for item in (*left, *right)}.values())


def _identity(item: Any) -> Any:
    return item if isinstance(item, str) else msgspec.json.encode(item)


def _unite(left: Any, right: Any) -> Any:
    if isinstance(left, msgspec.Struct) and isinstance(right, msgspec.Struct):
        changed = {name: value for name in right.__struct_fields__ if (value := getattr(right, name)) is not None}
        return msgspec.structs.replace(left, **changed)
    return {**left, **right}
