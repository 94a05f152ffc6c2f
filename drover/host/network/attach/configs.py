"""Where a network's CNI configuration comes from.

In this order: files that a network driver installed (`/etc/cni/<network>.d`), files of the machine's owner
(`/etc/docker/cni/<network>.d`), the environment (the network's `cniConfig`), and what the environment said before
this program was restarted. The last one lets containers join when host and metadata service start together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from drover.client.world import World
from drover.host.network.attach.files import read_json, write_atomically
from drover.host.network.names import BRIDGE_TYPE, DEFAULT_NETWORK

log = structlog.get_logger(__name__)

BUILT_IN_IPAMS = ("", "rancher-cni-ipam", "rancher-flat-ipam")
HOST_LABEL = "__host_label__"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]*")


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """One configuration file of a network, or one plug-in of a list (`.conflist`).

    `delegate`: the IPAM plug-in that is meant, not the one that the configuration is for.
    """

    file: str
    content: Mapping[str, Any]
    delegate: str = ""

    @property
    def type(self) -> str:
        return self.delegate or str(self.content.get("type") or "")

    @property
    def built_in(self) -> bool:
        return self.type == BRIDGE_TYPE

    @property
    def foreign(self) -> PluginConfig | None:
        """What has to be run as a program: the plug-in itself, or the IPAM of the built-in one; None: nothing."""
        if not self.built_in:
            return self
        ipam = self.content.get("ipam")
        kind = str(ipam.get("type") or "") if isinstance(ipam, dict) else ""
        return None if kind in BUILT_IN_IPAMS else PluginConfig(self.file, self.content, delegate=kind)


class NetworkConfigs:
    """The configurations of all networks, by name."""

    def __init__(self, *, driver_dir: Path, user_dir: Path, memory: Path) -> None:
        self._folders = (driver_dir, user_dir)
        self._memory = memory
        self._known: dict[str, dict[str, Any]] = _remembered(memory)

    def find(self, network: str) -> tuple[PluginConfig, ...]:
        """The network's plug-ins in the order of their file names; empty when nobody knows the network."""
        if not _NAME.fullmatch(network):
            # The name is a container's label: it must not lead to another folder.
            return ()
        for folder in self._folders:
            if found := _read_folder(folder / f"{network}.d"):
                return found
        return plugins_of(self._known.get(network) or {})

    def all_foreign(self) -> tuple[PluginConfig, ...]:
        """Every plug-in that is a program, of all networks that are known."""
        names = set(self._known)
        for folder in self._folders:
            if folder.is_dir():
                names |= {each.name.removesuffix(".d") for each in folder.iterdir() if each.name.endswith(".d")}
        plugins = (each.foreign for name in names for each in self.find(name))
        found = {(each.file, each.type): each for each in plugins if each is not None}
        return tuple(found[key] for key in sorted(found))

    def learn(self, world: World) -> None:
        """Takes the environment's networks over. A network that is gone is forgotten with the next change."""
        environment = world.environment
        labels = world.own_host.labels if world.own_host else {}
        known: dict[str, dict[str, Any]] = {}
        for network in world.networks.values():
            config = network.metadata.get("cniConfig")
            own = environment is None or network.environment_uuid in ("", environment.uuid)
            if not own or not isinstance(config, dict) or not config or not network.name:
                continue
            known[network.name] = substitute_host_labels(config, labels)
            if network.is_default:
                known[DEFAULT_NETWORK] = known[network.name]
        # An environment without networks is no reason to forget: it may just be starting up.
        if known and known != self._known:
            self._known = known
            write_atomically(self._memory, msgspec.json.encode(known))
            log.info("networks.changed", networks=sorted(known))


def plugins_of(config: Mapping[str, Any]) -> tuple[PluginConfig, ...]:
    """A network's `cniConfig` (file name -> content) as plug-ins."""
    found: list[PluginConfig] = []
    for file in sorted(config):
        content = config[file]
        if isinstance(content, dict):
            found += _plugins(file, content)
    return tuple(found)


def substitute_host_labels(value: Any, labels: Mapping[str, str]) -> Any:
    """Replaces `__host_label__: name` in all texts by the host's label, empty when it has none (Rancher 1.6)."""
    if isinstance(value, str) and value.startswith(HOST_LABEL):
        return labels.get(value.partition(":")[2].strip(), "")
    if isinstance(value, dict):
        return {key: substitute_host_labels(each, labels) for key, each in value.items()}
    if isinstance(value, list):
        return [substitute_host_labels(each, labels) for each in value]
    return value


def _plugins(file: str, content: Mapping[str, Any]) -> list[PluginConfig]:
    plugins = content.get("plugins")
    if not isinstance(plugins, list):
        return [PluginConfig(file, content)]
    shared = {key: content[key] for key in ("name", "cniVersion") if key in content}
    return [PluginConfig(file, {**shared, **each}) for each in plugins if isinstance(each, dict)]


def _read_folder(folder: Path) -> tuple[PluginConfig, ...]:
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in (".conf", ".conflist", ".json"))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    found: list[PluginConfig] = []
    for each in files:
        content = read_json(each)
        if isinstance(content, dict):
            found += _plugins(each.name, content)
        else:
            log.warning("cni.config.unreadable", file=str(each), hint="it must hold one JSON object")
    return tuple(found)


def _remembered(memory: Path) -> dict[str, dict[str, Any]]:
    content = read_json(memory)
    return content if isinstance(content, dict) else {}
