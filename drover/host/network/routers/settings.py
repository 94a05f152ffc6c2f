"""The settings of the routers' programs. The variables of Rancher 1.6's images are accepted."""

from __future__ import annotations

from dataclasses import dataclass

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
