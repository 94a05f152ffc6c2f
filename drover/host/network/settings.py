"""The network manager's settings. Flags and variables of the original's `plugin-manager` are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drover.common.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkManagerSettings:
    """Everything an operator may choose about one host's network manager. Durations are in seconds."""

    metadata_address: str = setting(
        default="169.254.169.250", env=("METADATA_IP",), help="Address of the metadata service."
    )
    metadata_listen_port: int = setting(
        default=80, env=("RANCHER_METADATA_LISTEN_PORT",), help="Port the metadata service really listens on."
    )
    docker_bridge: str = setting(default="docker0", env=("DOCKER_BRIDGE",), help="Docker's own bridge.")
    docker_url: str = setting(
        default="unix:///var/run/docker.sock", env=("DOCKER_HOST",), help="Docker engine (unix socket)."
    )
    state_dir: Path = setting(
        default=Path("/var/lib/rancher/state"), env=("CATTLE_STATE_DIR",), help="Folder of the host's state."
    )
    cni_config_dir: Path = setting(
        default=Path("/etc/cni"), help="Folder of <network>.d, which network drivers fill; it wins."
    )
    cni_user_dir: Path = setting(default=Path("/etc/docker/cni"), help="Folder of <network>.d, for users.")
    # Debian's folder before those of the system: iproute2 has a program named bridge, which is no plug-in.
    cni_path: str = setting(
        default="/opt/cni/bin:/var/lib/cni/bin:/usr/lib/cni:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
        env=("CNI_PATH",),
        help="Where CNI plug-ins are looked for, separated by colons.",
    )
    attach_tries: int = setting(default=15, help="How often attaching a container is tried, 2 s apart.")
    verify_interval: float = setting(default=30.0, help="How often rules, hooks and routes are verified.")
    refresh_interval: float = setting(default=300.0, help="How often all rules are applied again whatever they are.")
    arpsync_interval: float = setting(default=5.0, help="Shortest time between two looks at the neighbours.")
    vethsync_interval: float = setting(default=60.0, help="How often interfaces without container are looked for.")
    disable_dns_setup: bool = setting(default=False, help="Leave containers' resolv.conf alone.")
    disable_macsync: bool = setting(default=False, help="Leave containers' MAC addresses alone.")
    disable_arpsync: bool = setting(default=False, help="Leave the neighbour tables alone.")
    disable_conntracksync: bool = setting(default=False, help="Leave tracked connections alone.")
    disable_vethsync: bool = setting(default=False, help="Leave interfaces of vanished containers alone.")
    disable_routesync: bool = setting(default=False, help="Leave the metadata route alone.")
    disable_reaper: bool = setting(default=False, help="Leave duplicate containers alone.")
    status_listen: str = setting(default="", help="Address and port of the status page, like 127.0.0.1:8113.")
    cleanup: bool = setting(default=False, help="Remove everything that the network manager made on this host.")

    @property
    def cni_state_dir(self) -> Path:
        """Where the agent looks for each container's address."""
        return self.state_dir / "cni"

    @property
    def memory_dir(self) -> Path:
        """What the manager remembers over a restart."""
        return self.state_dir / "network"

    @property
    def networks_file(self) -> Path:
        return self.memory_dir / "networks.json"

    @property
    def ledger_file(self) -> Path:
        return self.memory_dir / "bridges.json"

    @property
    def plugins_dir(self) -> Path:
        return self.memory_dir / "plugins"
