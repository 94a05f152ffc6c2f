"""Settings as they are in force, from the first of these layers that has one (Rancher 1.6).

1. The environment, ``CATTLE_API_HOST``: fixed for as long as the server runs.
2. The database: what administrators set by the API.
3. The environment's defaults, ``DEFAULT_CATTLE_API_HOST``: what an image of the server brings, or an installation
   begins with, and administrators may change.
4. The packaged default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from drover.server.resources.settings import SETTINGS
from drover.server.store import Store, Touched

TYPE = "setting"
_PREFIX = "CATTLE_"
_WEAK_PREFIX = "DEFAULT_CATTLE_"
_PACKAGED = "Code Packaged Defaults"


class Settings:
    """The effective value of every setting, kept current from the commits. Reading one costs a dictionary look-up."""

    def __init__(self, store: Store, environment: Mapping[str, str] = os.environ) -> None:
        self._store = store
        self._fixed = {name: value for name, value in environment.items() if name.startswith(_PREFIX)}
        self._defaults = {
            name.removeprefix("DEFAULT_"): value for name, value in environment.items() if name.startswith(_WEAK_PREFIX)
        }
        self._stored: dict[str, str] = {}
        self._effective: dict[str, str] = {}
        store.listen(self._hear)

    async def start(self) -> None:
        for record in await self._store.find_by(TYPE):
            self._stored[str(record.name)] = str(record["value"] or "")
        self._effective.clear()

    def stored(self, name: str) -> str | None:
        """The value in the database, which need not be the one in force."""
        return self._stored.get(name)

    def source(self, name: str) -> str:
        """The layer that a setting's value comes from, as the API shows it."""
        if _variable(name) in self._fixed:
            return "Environment Variables"
        if name in self._stored:
            return "Database"
        if _variable(name) in self._defaults:
            return "Default Environment Variables"
        return _PACKAGED

    def chosen(self, name: str) -> bool:
        """Whether anybody gave the setting a value; otherwise it has its packaged default."""
        return self.source(name) != _PACKAGED

    def get(self, name: str) -> str:
        value = self._effective.get(name)
        if value is None:
            value = self._effective[name] = self._look_up(name)
        return value

    def _look_up(self, name: str) -> str:
        fixed = self._fixed.get(_variable(name))
        if fixed is not None:
            return fixed
        stored = self._stored.get(name)
        if stored is not None:
            return stored
        default = self._defaults.get(_variable(name))
        if default is not None:
            return default
        definition = SETTINGS.get(name)
        return "" if definition is None else definition.default

    def int(self, name: str) -> int:
        """A whole number; a value that is none falls back to the packaged default."""
        for text in (self.get(name), SETTINGS[name].default if name in SETTINGS else ""):
            try:
                return int(text)
            except ValueError:
                continue
        return 0

    def seconds(self, name: str) -> float:
        """A duration that is stored in milliseconds."""
        return self.int(name) / 1000

    def bool(self, name: str) -> bool:
        return self.get(name).strip().lower() in ("true", "yes", "on", "1")

    def names(self) -> list[str]:
        return sorted({*SETTINGS, *self._stored})

    def _hear(self, touched: Sequence[Touched]) -> None:
        for row in touched:
            if row.type != TYPE:
                continue
            self._effective.clear()
            if row.after is None or row.after["removed"]:
                if row.before is not None:
                    self._stored.pop(str(row.before.name), None)
            else:
                self._stored[str(row.after.name)] = str(row.after["value"] or "")


def _variable(name: str) -> str:
    return _PREFIX + name.upper().replace(".", "_")
