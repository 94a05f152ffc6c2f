"""What the mapping must know besides the request: the host, the engine, and what already runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.host.agent.payload import Instance


def _nothing_found(_: Instance) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """The image's own entrypoint and command."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingFacts:
    """The world as the mapping sees it. The defaults describe a modern engine with cgroup v2."""

    api_version: tuple[int, int] = (1, 41)
    docker_root: str = "/var/lib/docker"
    kernel_memory: bool = False
    """The engine accepts a kernel memory limit (cgroup v1 before API 1.42)."""
    oom_kill_disable: bool = True
    memory_swappiness: bool = True
    cpu_realtime: bool = False
    default_disk: str | None = None
    host_search_domains: tuple[str, ...] | None = ()
    """`search` of the host's resolv.conf; None when the file cannot be read."""
    proxy_environment: Mapping[str, str] = field(default_factory=dict)
    config_url: str = ""
    legacy_cpu_shares: bool = False
    image: ImageDefaults | None = None
    """Needed for managed networks only, where the entrypoint is prefixed."""
    flex_mounts: Mapping[str, str] = field(default_factory=dict)
    """Volume name -> mount point, for volumes whose driver mounts them itself."""
    find_container: Callable[[Instance], str | None] = _nothing_found
    """Docker id of another instance on this host."""
