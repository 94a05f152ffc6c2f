"""Names that containers, hosts and other programs know (Rancher 1.6): labels, paths, chains."""

from __future__ import annotations

LABEL_UUID = "io.rancher.container.uuid"
LABEL_IP = "io.rancher.container.ip"
LABEL_MAC = "io.rancher.container.mac_address"
LABEL_NETWORK = "io.rancher.container.network"
LABEL_CNI_NETWORK = "io.rancher.cni.network"
LABEL_MTU_OVERHEAD = "io.rancher.cni.link_mtu_overhead"
LABEL_DNS = "io.rancher.container.dns"
LABEL_DNS_PRIORITY = "io.rancher.container.dns.priority"
LABEL_STACK_SERVICE = "io.rancher.stack_service.name"
LABEL_HOST_PORTS = "io.rancher.network.host_ports"
LABEL_ARP_SYNC = "io.rancher.network.arpsync"
LABEL_CLUSTER_RANGE = "io.rancher.k8s.service.cluster.ip.range"
LABEL_METADATA = "io.rancher.container.agent_service.metadata"
KUBERNETES_PREFIX = "annotation."

DEFAULT_NETWORK = "managed"
"""Stands for the environment's default network."""

BRIDGE_TYPE = "rancher-bridge"
"""The CNI type that is built in."""

INTERFACE = "eth0"
VETH_PREFIX = "vethr"
VETH_ID_DIGITS = 10

DISABLE_HOST_NAT_SET = "RANCHER_DISABLE_HOST_NAT_IPSET"
"""ipset of destinations that managed containers reach with their own address."""

RUNNING_STATES = frozenset({"running", "starting", "stopping"})


def host_veth(container: str) -> str:
    """The host's end of a container's cable."""
    return VETH_PREFIX + container[:VETH_ID_DIGITS]
