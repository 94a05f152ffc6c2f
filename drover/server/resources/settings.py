"""The settings that exist, with what they are when nobody sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from drover.server.resources._load import load_settings


@dataclass(frozen=True, slots=True)
class SettingDefinition:
    """One setting. ``public``: every role may read it; ``service_only``: blank for all but services."""

    name: str
    default: str
    public: bool = False
    service_only: bool = False
    description: str = ""

    @property
    def env_name(self) -> str:
        """The environment variable that fixes the setting: ``api.host`` -> ``CATTLE_API_HOST``."""
        return "CATTLE_" + self.name.upper().replace(".", "_")


SETTINGS: Mapping[str, SettingDefinition] = MappingProxyType(
    {item["name"]: SettingDefinition(**item) for item in load_settings()}
)
