"""The settings of `drover dns`. Names and defaults are those of Rancher 1.6's DNS service where it had them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drover.common.settings import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings:
    """Times to live and waits are in seconds."""

    listen: str = setting(default=":53", help="Address and port for UDP and TCP.")
    metadata_server: str | None = setting(
        default=None,
        env=("METADATA_SERVER",),
        help="Host (or address) of the metadata service that the records are made from; without it they are read "
        "from the answers file.",
    )
    answers: Path | None = setting(
        default=None,
        help="Answers file (JSON or YAML). With a metadata server: where all records are written for inspection.",
    )
    ttl: int = setting(default=600, help="Time to live of own answers.")
    recurser_timeout: float = setting(
        default=2.0, env=("DNS_RECURSER_TIMEOUT",), help="How long one name server outside may take."
    )
    ndots: int = setting(
        default=0, help="Try search suffixes for names with fewer dots than this; 0: whatever the number."
    )
    suffix_labels: int = setting(
        default=3, help="Longest name, in labels, that search suffixes are tried for: data.web.shop has three."
    )
    public_suffixes: tuple[str, ...] = setting(
        default=("com", "net", "org", "edu", "gov", "mil", "int", "arpa"),
        help="Names of two and more labels that end in one of these are public: a stack of that name hides none.",
    )
    cache_capacity: int = setting(default=1000, help="Replies of other name servers that are kept.")
    cache_ttl_max: int = setting(default=300, help="Longest time that such a reply is kept, whatever it says itself.")
    stale_max: int = setting(
        default=86400, help="How long an expired reply may still be given while no name server answers; 0: never."
    )
    rancher_metadata_answer: tuple[str, ...] = setting(
        default=("169.254.169.250",),
        env=("RANCHER_METADATA_ANSWER",),
        help="Addresses of the name rancher-metadata; agent_ip is this host's.",
    )
    never_recurse_to: tuple[str, ...] = setting(
        default=("169.254.169.250",),
        env=("NEVER_RECURSE_TO",),
        help="Name servers that are never asked; agent_ip is this host's.",
    )
    resolv_conf: Path = setting(default=Path("/etc/resolv.conf"), help="File that lists the name servers outside.")
    status_listen: str = setting(
        default="", help="Address and port of the status pages (/healthz, /status, /metrics); empty: none."
    )
