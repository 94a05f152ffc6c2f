"""The settings of `drover scheduler`; the variables are those that the server gives every container with an agent."""

from __future__ import annotations

from dataclasses import dataclass

from drover.common.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """Where the server is and who we are there; where the environment is told."""

    server_url: str = setting(env=("CATTLE_URL",), help="API base of the server (http://server:8080/v1).")
    access_key: str = setting(env=("CATTLE_ACCESS_KEY",), help="Access key of the container's agent.")
    secret_key: str = setting(env=("CATTLE_SECRET_KEY",), secret=True, help="Secret key of the container's agent.")
    metadata_address: str = setting(
        default="169.254.169.250", env=("METADATA_ADDRESS",), help="Host (or address) of the metadata service."
    )
    listen: str = setting(default=":80", help="Address and port of /healthcheck; empty: none.")
    status_listen: str = setting(
        default="", help="Address and port of the status pages (/healthz, /status, /metrics); empty: none."
    )
