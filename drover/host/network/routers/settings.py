"""The settings of the routers' programs. The variables of Rancher 1.6's images are accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drover.common.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanSettings:
    """What an operator may choose about a VXLAN router. Durations are in seconds."""

    metadata_url: str = setting(default="http://169.254.169.250", help="Metadata service to follow.")
    interface: str = setting(default="eth0", help="Interface on the managed network.")
    vtep_mtu: int = setting(
        default=0, env=("VXLAN_VTEP_MTU", "RANCHER_VTEP_MTU"), help="MTU of the tunnel; 0: the interface's less 50."
    )
    vni: int = setting(default=1042, env=("RANCHER_VXLAN_VNI",), help="VXLAN network identifier.")
    verify_interval: float = setting(default=45.0, help="How often the kernel's tables are compared as a whole.")
    status_listen: str = setting(default="", help="HOST:PORT that serves /status, /healthz and /metrics.")


@dataclass(frozen=True, slots=True, kw_only=True)
class IpsecSettings:
    """What an operator may choose about an IPsec router. Durations are in seconds, unless charon reads them."""

    metadata_url: str = setting(default="http://169.254.169.250", help="Metadata service to follow.")
    interface: str = setting(default="eth0", help="Interface on the managed network.")
    server_url: str | None = setting(default=None, env=("CATTLE_URL",), help="API base, to ask for the key.")
    access_key: str | None = setting(default=None, env=("CATTLE_ACCESS_KEY",), help="Own agent's access key.")
    secret_key: str | None = setting(
        default=None, env=("CATTLE_SECRET_KEY",), secret=True, help="Own agent's secret key."
    )
    psk: str | None = setting(
        default=None, env=("RANCHER_IPSEC_PSK",), secret=True, help="Pre-shared key, instead of the server's."
    )
    token_psk: bool = setting(default=False, env=("TOKEN_PSK",), help="Use the service's token as pre-shared key.")
    state_dir: Path = setting(
        default=Path("/var/lib/drover/ipsec"), help="Folder of charon's socket and of the key received last."
    )
    charon: Path = setting(default=Path("/usr/lib/ipsec/charon"), help="The charon program.")
    charon_dir: Path | None = setting(
        default=None, help="Folder shared with a `drover charon` that runs apart; without it charon is started here."
    )
    datapath: Literal["auto", "kernel", "userland"] = setting(
        default="auto", help="What encrypts; auto: the kernel where it has ESP, else user space."
    )
    ike_rekey: str = setting(
        default="4h", env=("IPSEC_IKE_SA_REKEY_INTERVAL",), help="How long an IKE association is used."
    )
    child_rekey: str = setting(
        default="1h", env=("IPSEC_CHILD_SA_REKEY_INTERVAL",), help="How long an ESP association is used."
    )
    replay_window: str = setting(
        default="1024", env=("IPSEC_REPLAY_WINDOW_SIZE",), help="Packets that may arrive out of order."
    )
    ipsec_config: Path = setting(
        default=Path("/etc/ipsec"), help="Folder of ike.conf and childsa.conf (JSON) that change the connections."
    )
    vtep_mtu: int = setting(default=0, env=("VXLAN_VTEP_MTU",), help="MTU inside a user space tunnel; 0: 1350 at most.")
    key_interval: float = setting(default=600.0, help="How often the key is asked for without a reason.")
    verify_interval: float = setting(default=30.0, help="How often tunnels and tables are compared as a whole.")
    keep: bool = setting(
        default=False, help="Stay as a small first process that starts the controller again when it dies."
    )
    debug: bool = setting(default=False, env=("RANCHER_DEBUG",), help="Let charon tell what it does.")
    status_listen: str = setting(default="", help="HOST:PORT that serves /status, /healthz and /metrics.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CharonSettings:
    """What an operator may choose about a charon that runs apart from its controller."""

    charon_dir: Path = setting(default=Path("/run/drover/charon"), help="Folder of the socket, for the controller.")
    charon: Path = setting(default=Path("/usr/lib/ipsec/charon"), help="The charon program.")
    datapath: Literal["auto", "kernel", "userland"] = setting(
        default="auto", help="What encrypts; auto: the kernel where it has ESP, else user space."
    )
    debug: bool = setting(default=False, env=("RANCHER_DEBUG",), help="Let charon tell what it does.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectivitySettings:
    """What an operator may choose about the connectivity check. Times are in milliseconds, as in Rancher 1.6."""

    metadata_url: str = setting(default="http://169.254.169.250", help="Metadata service to follow.")
    interface: str = setting(default="eth0", help="Interface on the managed network.")
    connectivity_check_interval: int = setting(
        default=5000, env=("CONNECTIVITY_CHECK_INTERVAL",), help="How often peers are asked, in milliseconds."
    )
    peer_connection_timeout: int = setting(
        default=1000, env=("PEER_CONNECTION_TIMEOUT",), help="How long a peer may take to answer, in milliseconds."
    )
    sample: int = setting(default=20, help="How many peers are asked at a time; the others have their turn later.")
    port: int = setting(default=80, help="Port of this check, and of those of the peers.")
    status_listen: str = setting(default="", help="HOST:PORT that serves /status, /healthz and /metrics.")
