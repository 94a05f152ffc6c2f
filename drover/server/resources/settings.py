"""The settings that exist.

A setting is read by its dotted name. An environment variable of the server fixes it, otherwise the database may set
it, otherwise another variable of the server or this package gives its default. Unknown names may be set, too: they are
settings without a definition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drover.server.resources.setting_defaults import DEFAULTS, DESCRIPTIONS, PUBLIC, SERVICE_ONLY


@dataclass(frozen=True, slots=True)
class SettingDefinition:
    """One setting, all values being text. ``public``: every role may read it; ``service_only``: blank for others."""

    name: str
    default: str
    public: bool = False
    service_only: bool = False
    description: str = ""

    @property
    def env_name(self) -> str:
        """The environment variable that fixes the setting: ``api.host`` -> ``CATTLE_API_HOST``."""
        return env_name(self.name)


def env_name(name: str) -> str:
    """The environment variable of any setting, defined or not."""
    return "CATTLE_" + name.upper().replace(".", "_")


SETTINGS: Mapping[str, SettingDefinition] = MappingProxyType(
    {
        name: SettingDefinition(
            name=name,
            default=default,
            public=name in PUBLIC,
            service_only=name in SERVICE_ONLY,
            description=DESCRIPTIONS.get(name, ""),
        )
        for name, default in DEFAULTS.items()
    }
)
