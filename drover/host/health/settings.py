"""The settings of `drover healthcheck`. Variables and the metadata flag are those of Rancher 1.6's checker."""

from __future__ import annotations

from dataclasses import dataclass

from drover.common.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthcheckSettings:
    """What an operator may choose. A container of the system stack is given everything it needs."""

    server_url: str = setting(env=("CATTLE_URL",), help="API address of the server.")
    access_key: str = setting(env=("CATTLE_ACCESS_KEY",), help="Access key of this checker's agent.")
    secret_key: str = setting(env=("CATTLE_SECRET_KEY",), secret=True, help="Its secret half.")
    metadata_address: str = setting(default="169.254.169.250", help="Host (or address) of the metadata service.")
    listen: str = setting(
        default="0.0.0.0:42", help="Address and port that other checkers connect to, to see that this one lives."
    )
    concurrency: int = setting(default=256, help="How many checks may be under way at once.")
    status_listen: str = setting(
        default="", help="Address and port of the status pages (/healthz, /status, /metrics); empty: none."
    )
