"""The figures of a router, for Prometheus."""

import contextlib

from prometheus_client import Counter, Gauge

REMOTE_ADDRESSES = Gauge("drover_router_remote_addresses", "Managed addresses on other hosts that are routed")
PEERS = Gauge("drover_router_peers", "Routers of other hosts")
CHANGES = Counter("drover_router_table_changes", "Entries of the kernel's tables that were changed")
REPAIRS = Counter("drover_router_table_repairs", "Entries that a full comparison found to differ")
REFUSALS = Counter("drover_router_table_refusals", "Changes that the kernel refused")
TUNNELS = Gauge("drover_router_tunnels", "Peers with an established tunnel")
TUNNEL_FAILURES = Counter("drover_router_tunnel_failures", "Attempts to establish a tunnel that failed")
PEER_BYTES_IN = Gauge("drover_router_peer_received_bytes", "Bytes received from a peer by its present tunnel", ["peer"])
PEER_BYTES_OUT = Gauge("drover_router_peer_sent_bytes", "Bytes sent to a peer by its present tunnel", ["peer"])
PEER_REACHABLE = Gauge("drover_router_peer_reachable", "Whether a peer's router answers (1) or not (0)", ["peer"])


def forget_peer(host: str) -> None:
    """Show no figures of a host that is gone."""
    for gauge in (PEER_BYTES_IN, PEER_BYTES_OUT):
        with contextlib.suppress(KeyError):
            gauge.remove(host)
