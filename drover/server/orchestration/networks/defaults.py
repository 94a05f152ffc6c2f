"""The networks that every environment has from its first day.

``managed`` is the one containers join when they say nothing. An environment without a network stack has no data plane
for it yet; what that means for a container is decided in :mod:`drover.server.orchestration.networks.resolve`.
"""

from __future__ import annotations

import uuid
from typing import Any

from drover.common.clock import now_ms
from drover.server.store import Changes, Record

DOCKER_KINDS = {
    "dockerHost": "Docker Host Network Mode",
    "dockerNone": "Docker None Network Mode",
    "dockerContainer": "Docker Container Network Mode",
    "dockerBridge": "Docker Bridge Network Mode",
}
MANAGED = "managed"
MANAGED_ADDRESS = "10.42.0.0"
MANAGED_BITS = 16
DNS_ADDRESS = "169.254.169.250"
DNS_SEARCH = "rancher.internal"


def plan_default_networks(changes: Changes, account: Record) -> Record:
    """Plan the networks of an environment and make the managed one its default; returns that one."""
    for kind, name in DOCKER_KINDS.items():
        changes.insert("network", _row(account, kind=kind, name=name))
    managed = changes.insert(
        "network",
        _row(
            account,
            kind=MANAGED,
            name=MANAGED,
            macPrefix=f"02:{account.id >> 8 & 0xFF:02x}:{account.id & 0xFF:02x}",
            dns=[DNS_ADDRESS],
            dnsSearch=[DNS_SEARCH],
            hostPorts=True,
        ),
    )
    changes.insert(
        "subnet",
        _row(
            account,
            kind="subnet",
            networkId=managed.id,
            networkAddress=MANAGED_ADDRESS,
            cidrSize=MANAGED_BITS,
            gateway="10.42.0.1",
            startAddress="10.42.0.2",
            endAddress="10.42.255.250",
        ),
    )
    changes.claim(f"default-networks:{account.id}", account)
    changes.update(account, {"defaultNetworkId": managed.id})
    return managed


def _row(account: Record, **values: Any) -> dict[str, Any]:
    return {"uuid": str(uuid.uuid4()), "accountId": account.id, "state": "active", "created": now_ms(), **values}
