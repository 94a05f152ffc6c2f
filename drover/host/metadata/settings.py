"""The metadata server's settings: one object, read once from flags and environment.

The `CATTLE_*` variables are those that a server puts into the containers of its agents; `RANCHER_METADATA_ADDRESS`
is that of the original's image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drover.common.errors import SettingsError
from drover.common.settings import setting

ADDRESS = "169.254.169.250"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataSettings:
    """What an operator may choose about one host's metadata server."""

    server_url: str | None = setting(
        default=None, env=("CATTLE_URL",), help="API base of the server. Without it only --answers is served."
    )
    access_key: str | None = setting(default=None, env=("CATTLE_ACCESS_KEY",), help="Access key of this agent.")
    secret_key: str | None = setting(
        default=None, env=("CATTLE_SECRET_KEY",), secret=True, help="Secret key of this agent."
    )
    listen: str = setting(
        default=":80", help="Address and port of the HTTP interface; without an address, all of them."
    )
    answers: Path | None = setting(
        default=None, help="File that keeps the last known world, to be served at once after a restart."
    )
    add_address: bool = setting(default=False, help="Put the metadata address on the interface at start (NET_ADMIN).")
    metadata_address: str = setting(
        default=ADDRESS, env=("RANCHER_METADATA_ADDRESS",), help="Address that containers reach the service at."
    )
    interface: str = setting(default="eth0", help="Interface that --add-address puts the address on.")
    xff: bool = setting(default=False, help="Take X-Forwarded-For for the client's address.")
    share_port: bool = setting(default=False, help="Let several of these processes listen at the same port.")
    status_listen: str = setting(default="", help="Address and port of /healthz, /status and /metrics; empty: none.")

    def __post_init__(self) -> None:
        if self.server_url is None and self.answers is None:
            raise SettingsError("--server-url is required: set CATTLE_URL, or give --answers to serve a file alone")
        if self.server_url is not None and not (self.access_key and self.secret_key):
            raise SettingsError(
                "--access-key and --secret-key are required: set CATTLE_ACCESS_KEY and CATTLE_SECRET_KEY"
            )


def parse_listen(text: str) -> tuple[str, int]:
    """`[address]:port`, an IPv6 address in brackets. Raises SettingsError."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"--listen: {text!r} is no address: write it like :80 or 169.254.169.250:80")
    return host.strip("[]"), int(port)
