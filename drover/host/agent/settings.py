"""The agent's settings: one object, read once from flags and environment.

The `CATTLE_*` variables are those of the original's agent, so an existing registration command or machine image
works unchanged; `DROVER_<FIELD>` wins over them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from drover.common.settings import load_settings, setting

PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")

PASSED_TO_AGENT_CONTAINER = (
    *PROXY_VARIABLES,
    "CATTLE_AGENT_IP",
    "CATTLE_HOST_LABELS",
    "CATTLE_SCHEDULER_IPS",
    "CATTLE_SCHEDULER_REQUIRE_ANY",
    "CATTLE_PHYSICAL_HOST_UUID",
    "CATTLE_DOCKER_UUID",
    "CATTLE_HOST_API_PROXY",
    "CATTLE_MEMORY_OVERRIDE",
    "CATTLE_MILLI_CPU_OVERRIDE",
    "CATTLE_LOCAL_STORAGE_MB_OVERRIDE",
    "CATTLE_DETECT_CLOUD_PROVIDER",
    "CATTLE_CHECK_NAMESERVER",
    "CATTLE_VOLMGR_ENABLED",
    "CATTLE_RUN_FIO",
    "CATTLE_SCRIPT_DEBUG",
    "RANCHER_DEBUG",
)
"""Variables that the launched `rancher-agent` container inherits from the registration container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything an operator may choose about one host's agent. Durations are in seconds."""

    registration_url: str | None = setting(
        default=None, help="Registration URL of the environment (http://server:8080/v1/scripts/...)."
    )
    server_url: str | None = setting(default=None, env=("CATTLE_URL",), help="API base, when keys are given.")
    agent_access_key: str | None = setting(default=None, env=("CATTLE_ACCESS_KEY",), help="Agent's access key.")
    agent_secret_key: str | None = setting(
        default=None, env=("CATTLE_SECRET_KEY",), secret=True, help="Agent's secret key."
    )
    config_url: str | None = setting(
        default=None, env=("CATTLE_CONFIG_URL",), help="Config base handed to agent instances (API base)."
    )
    agent_ip: str | None = setting(
        default=None, env=("CATTLE_AGENT_IP",), help="Address of this host (as the server sees it)."
    )
    docker_host_ip: str | None = setting(
        default=None, env=("CATTLE_DOCKER_HOST_IP",), help="Address or name published ports are shown with."
    )
    hostname: str | None = setting(default=None, env=("CATTLE_HOSTNAME",), help="Reported host name.")
    host_labels: str | None = setting(
        default=None, env=("CATTLE_HOST_LABELS",), help="Labels of a new host, as k=v&k2=v2."
    )
    scheduler_ips: str | None = setting(
        default=None, env=("CATTLE_SCHEDULER_IPS",), help="Addresses for host-port scheduling."
    )
    scheduler_require_any: str | None = setting(
        default=None, env=("CATTLE_SCHEDULER_REQUIRE_ANY",), help="Only containers with one of these labels."
    )
    state_dir: Path = setting(
        default=Path("/var/lib/rancher/state"),
        env=("CATTLE_STATE_DIR",),
        help="Folder of the host's identity and state.",
    )
    host_key_file: Path | None = setting(
        default=None, env=("CATTLE_HOST_KEY_FILE",), help="RSA key secrets are encrypted for."
    )
    physical_host_uuid: str | None = setting(
        default=None, env=("CATTLE_PHYSICAL_HOST_UUID",), help="Machine identity; overwrites the stored one."
    )
    docker_uuid: str | None = setting(
        default=None, env=("CATTLE_DOCKER_UUID",), help="Host identity; overwrites the stored one."
    )
    new_identity: bool = setting(default=False, help="Forget the stored identity: for cloned machines.")
    docker_url: str | None = setting(
        default=None, env=("DOCKER_HOST",), help="Docker engine (unix:///var/run/docker.sock)."
    )
    host_api_proxy: str | None = setting(default=None, env=("CATTLE_HOST_API_PROXY",), help="Reported as apiProxy.")
    memory_override: int | None = setting(default=None, env=("CATTLE_MEMORY_OVERRIDE",), help="Memory to offer, bytes.")
    milli_cpu_override: int | None = setting(
        default=None, env=("CATTLE_MILLI_CPU_OVERRIDE",), help="CPU to offer, 1000 = one core."
    )
    local_storage_mb_override: int | None = setting(
        default=None, env=("CATTLE_LOCAL_STORAGE_MB_OVERRIDE",), help="Local storage to offer, MB."
    )
    detect_cloud_provider: bool = setting(
        default=True, env=("CATTLE_DETECT_CLOUD_PROVIDER",), help="Label the host with its cloud's facts."
    )
    docker_enabled: bool = setting(default=True, env=("CATTLE_DOCKER_ENABLED",), help="Report resources in pings.")
    ping_enabled: bool = setting(default=True, env=("CATTLE_PING_ENABLED",), help="Fill pings at all.")
    agent_image: str | None = setting(default=None, env=("RANCHER_AGENT_IMAGE",), help="Image this agent runs from.")
    docker_concurrency: int = setting(default=8, help="Creates and starts that run at the same time.")
    legacy_cpu_shares: bool = setting(
        default=False, help="Give containers without CPU settings 2 shares, as Rancher 1.6 did."
    )
    default_disk: str | None = setting(default=None, help="Device that DEFAULT_DISK stands for in I/O limits.")
    cni_wait: float = setting(default=30.0, help="How long to wait for a container's address.")
    wait_program: Path | None = setting(
        default=None, help="The wait program for managed networks, when it is not where the image has it."
    )
    volume_plugin_dir: Path = setting(
        default=Path("/var/run/rancher/storage"), help="Folder of the volume drivers' sockets."
    )

    @property
    def create_labels(self) -> dict[str, str]:
        """Labels for a host that the server sees for the first time; the first value of a key wins."""
        labels: dict[str, str] = {}
        for key, value in parse_qsl(self.host_labels or "", keep_blank_values=True):
            if key.strip():
                labels.setdefault(key.strip(), value.strip())
        if self.scheduler_ips:
            labels["io.rancher.scheduler.ips"] = self.scheduler_ips
        if self.scheduler_require_any:
            labels["io.rancher.scheduler.require_any"] = self.scheduler_require_any
        return labels

    @property
    def reachable_ip(self) -> str | None:
        """The address (or name) users reach published ports at."""
        return self.docker_host_ip or self.agent_ip

    @property
    def cni_state_dir(self) -> Path:
        """Where the network manager leaves each container's addresses."""
        return self.state_dir / "cni"

    @property
    def key_file(self) -> Path:
        return self.host_key_file or self.state_dir.parent / "etc" / "ssl" / "host.key"


def read_settings(
    flags: Mapping[str, object] | None = None, *, environ: Mapping[str, str] | None = None
) -> AgentSettings:
    """Flags win over `DROVER_*`, which win over `CATTLE_*`. Raises SettingsError for an unusable value."""
    return load_settings(AgentSettings, flags=flags, environ=environ)


def proxy_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The non-empty proxy variables of the agent; system containers get them too."""
    variables = os.environ if environ is None else environ
    return {name: variables[name] for name in PROXY_VARIABLES if variables.get(name)}
