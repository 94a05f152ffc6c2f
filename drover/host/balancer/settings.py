"""The settings of `drover balancer`. The ``CATTLE_*`` variables come from the server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from drover.common.settings import setting


class ProviderName(StrEnum):
    HAPROXY = "haproxy"
    NGINX = "nginx"


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerSettings:
    """Times are in seconds."""

    metadata_address: str = setting(
        default="http://169.254.169.250", env=("RANCHER_METADATA_ADDRESS",), help="Address of the metadata service."
    )
    container: str | None = setting(
        default=None, help="Uuid of the container whose balancer this is; found by its address when not given."
    )
    provider: ProviderName = setting(default=ProviderName.HAPROXY, help="The program that balances.")
    server_url: str | None = setting(default=None, env=("CATTLE_URL",), help="API base of the server.")
    environment_access_key: str | None = setting(
        default=None,
        env=("CATTLE_ENVIRONMENT_ADMIN_ACCESS_KEY", "CATTLE_ACCESS_KEY"),
        help="Access key that reads certificates.",
    )
    environment_secret_key: str | None = setting(
        default=None,
        env=("CATTLE_ENVIRONMENT_ADMIN_SECRET_KEY", "CATTLE_SECRET_KEY"),
        secret=True,
        help="Its secret key.",
    )
    agent_access_key: str | None = setting(
        default=None,
        env=("CATTLE_AGENT_ACCESS_KEY", "CATTLE_ACCESS_KEY"),
        help="Access key of this container's agent, for requests to drain.",
    )
    agent_secret_key: str | None = setting(
        default=None, env=("CATTLE_AGENT_SECRET_KEY", "CATTLE_SECRET_KEY"), secret=True, help="Its secret key."
    )
    config_dir: Path | None = setting(
        default=None, help="Folder of the configuration. Default: /etc/<provider>, as the program expects it."
    )
    run_dir: Path = setting(default=Path("/var/run"), help="Folder of sockets and process ids.")
    health_bind: str = setting(default="*:42", help="Where the server's health checks connect to.")
    healthz_listen: str = setting(
        default=":10241", help="Address and port of /healthz, /status and /metrics; empty: none."
    )
    status_listen: str = setting(default="", help="A further address and port of the same pages; empty: none.")
    certs_poll_interval: float = setting(
        default=30.0, env=("CERTS_POLL_INTERVAL",), help="How often certificates are looked at."
    )
    cert_file_name: str = setting(
        default="fullchain.pem", env=("CERT_FILE_NAME",), help="Certificate in a folder of certificates."
    )
    key_file_name: str = setting(default="privkey.pem", env=("KEY_FILE_NAME",), help="Key in a folder of certificates.")
    stop_grace: float = setting(
        default=8.0, help="How long requests under way may take when the balancer itself is stopped."
    )
    leave_running: bool = setting(
        default=False, help="Leave the balancing program running when this one is told to stop."
    )
    guard: bool = setting(
        default=False, help="Start this program again when it is killed; for the main process of a container."
    )
    retry_interval: float = setting(default=10.0, help="How soon a change that failed is tried again.")
