"""Which network a container wants, and what its labels say about its interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drover.host.network.docker import Inspect
from drover.host.network.names import (
    DEFAULT_NETWORK,
    KUBERNETES_PREFIX,
    LABEL_CNI_NETWORK,
    LABEL_DNS,
    LABEL_IP,
    LABEL_MAC,
    LABEL_MTU_OVERHEAD,
    LABEL_NETWORK,
    LABEL_UUID,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A container's interface as far as its labels tell; empty texts leave it to metadata.

    `address` may carry a prefix length.
    """

    container: str
    uuid: str = ""
    address: str = ""
    mac: str = ""
    overhead: str = ""


def wanted_network(inspect: Inspect) -> str:
    """The network's name; empty when the container is none of ours."""
    labels = inspect.labels
    if network := labels.get(LABEL_CNI_NETWORK):
        return network
    mode = inspect.host_config.network_mode
    if mode == "host" or mode.startswith("container:"):
        return ""
    return DEFAULT_NETWORK if labels.get(LABEL_NETWORK) == "true" or labels.get(LABEL_IP) else ""


def wants_dns(inspect: Inspect) -> bool:
    labels = inspect.labels
    if labels.get(LABEL_DNS) == "false":
        return False
    return bool(labels.get(LABEL_CNI_NETWORK)) or "true" in (labels.get(LABEL_DNS), labels.get(LABEL_NETWORK))


def wish_of(container: str, labels: Mapping[str, str]) -> Wish:
    """Kubernetes' annotations win over the plain labels."""
    return Wish(
        container=container,
        uuid=labels.get(LABEL_UUID, ""),
        address=labels.get(KUBERNETES_PREFIX + LABEL_IP) or labels.get(LABEL_IP, ""),
        mac=labels.get(KUBERNETES_PREFIX + LABEL_MAC) or labels.get(LABEL_MAC, ""),
        overhead=labels.get(LABEL_MTU_OVERHEAD, ""),
    )
