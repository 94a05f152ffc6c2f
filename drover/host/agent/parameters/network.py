"""How a container is attached: the network mode, and what each mode allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drover.host.agent.errors import AgentError
from drover.host.agent.parameters.facts import MappingFacts
from drover.host.agent.parameters.names import (
    LABEL_CNI_NETWORK,
    LABEL_CNI_WAIT,
    LABEL_DNS_PRIORITY,
    LABEL_IP,
    LABEL_MAC,
    WAIT_BIND,
    WAIT_PROGRAM,
    container_name,
)
from drover.host.agent.payload import Instance, Nic

INTERNAL_DOMAIN = "rancher.internal"
ENDPOINT_MAC_API = (1, 44)
"""From this version on the MAC belongs to the endpoint, no longer to the container."""


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """What a kind of network means for the create call. An empty mode is the daemon's default bridge."""

    mode: str = ""
    disabled: bool = False
    ports: bool = False
    keeps_hostname: bool = True


BRIDGE = NetworkKind(ports=True)
KINDS = {
    "dockerHost": NetworkKind(mode="host", keeps_hostname=False),
    "dockerNone": NetworkKind(mode="none", disabled=True),
    "dockerContainer": NetworkKind(mode="container", keeps_hostname=False),
    # Not disabled: Docker must still write resolv.conf, the network manager does the rest.
    "cni": NetworkKind(mode="none"),
}


def network_kind(instance: Instance) -> NetworkKind:
    return KINDS.get(instance.network_kind, BRIDGE)


def primary_nic(instance: Instance) -> Nic | None:
    """The nic with the lowest device number."""
    return min(instance.nics or (), key=lambda nic: nic.device_number or 0, default=None)


def network_labels(instance: Instance) -> dict[str, str]:
    """MAC and address as the network manager and metadata read them."""
    labels: dict[str, str] = {}
    nic = primary_nic(instance)
    if nic and nic.mac_address:
        labels[LABEL_MAC] = nic.mac_address
    for address in (instance.nics[0].ip_addresses or ()) if instance.nics else ():
        size = address.subnet.cidr_size if address.subnet else None
        if address.role == "primary" and address.address and size:
            labels[LABEL_IP] = f"{address.address}/{size}"
            break
    return labels


def add_network(body: dict[str, Any], host_config: dict[str, Any], instance: Instance, facts: MappingFacts) -> None:
    kind = network_kind(instance)
    if kind.mode == "container":
        host_config["NetworkMode"] = f"container:{_network_container(instance, facts)}"
    elif kind.mode:
        host_config["NetworkMode"] = kind.mode
    if kind.disabled:
        body["NetworkDisabled"] = True
    if not kind.keeps_hostname:
        body.pop("Hostname", None)
    nic = primary_nic(instance)
    if kind is not BRIDGE or nic is None or not nic.mac_address:
        return
    if facts.api_version < ENDPOINT_MAC_API:
        body["MacAddress"] = nic.mac_address
    else:
        host_config["NetworkMode"] = "bridge"
        body["NetworkingConfig"] = {"EndpointsConfig": {"bridge": {"MacAddress": nic.mac_address}}}


def add_ports(body: dict[str, Any], host_config: dict[str, Any], instance: Instance) -> None:
    """Published ports; where the mode has none, nothing is exposed either."""
    if not network_kind(instance).ports:
        return
    if instance.fields.publish_all_ports:
        host_config["PublishAllPorts"] = True
    exposed: dict[str, dict[str, str]] = {}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in instance.ports or ():
        if not port.private_port:
            continue
        key = f"{port.private_port}/{port.protocol or 'tcp'}"
        address = port.data.fields.bind_address if port.data and port.data.fields else None
        exposed[key] = {}
        bindings.setdefault(key, []).append(
            {"HostIp": address or "", "HostPort": str(port.public_port) if port.public_port else ""}
        )
    if exposed:
        body["ExposedPorts"] = exposed
        host_config["PortBindings"] = bindings


def add_dns_search(host_config: dict[str, Any], instance: Instance, facts: MappingFacts) -> None:
    """Adds the host's search domains when the container has only internal ones.

    Otherwise short names that work on the host would stop working inside. Raises AgentError when the host's
    resolver configuration cannot be read.
    """
    search = list(instance.fields.dns_search or ())
    if search and all(domain.endswith(INTERNAL_DOMAIN) for domain in search):
        if facts.host_search_domains is None:
            raise AgentError(
                "/etc/resolv.conf of the host cannot be read, but the container's DNS search "
                "list is derived from it: restore the file or set dnsSearch on the service"
            )
        missing = [domain for domain in facts.host_search_domains if domain not in search]
        last = instance.labels.get(LABEL_DNS_PRIORITY) == "service_last"
        search = [*missing, *search] if last else [*search, *missing]
    if search:
        host_config["DnsSearch"] = search


def add_managed_network(
    body: dict[str, Any], host_config: dict[str, Any], instance: Instance, facts: MappingFacts
) -> None:
    """On a managed network the program starts through the wait program, once its interface is there."""
    if instance.network_kind != "cni":
        return
    labels: dict[str, str] = body["Labels"]
    labels[LABEL_CNI_WAIT] = "true"
    network = instance.nics[0].network if instance.nics else None
    labels.setdefault(LABEL_CNI_NETWORK, (network and network.name) or "")
    host_config.setdefault("Binds", []).append(WAIT_BIND)
    entrypoint: list[str] = list(body.get("Entrypoint") or ())
    command: list[str] = list(body.get("Cmd") or ())
    if not entrypoint and facts.image:
        entrypoint = list(facts.image.entrypoint)
        command = command or list(facts.image.command)
    if (not entrypoint and not command) or entrypoint[:1] == [WAIT_PROGRAM]:
        return
    body["Entrypoint"] = [WAIT_PROGRAM, *entrypoint]
    if command:
        body["Cmd"] = command


def _network_container(instance: Instance, facts: MappingFacts) -> str:
    """The id of the container whose network is shared, or the name it will have."""
    other = instance.network_container
    if other is None:
        raise AgentError("the container shares a network, but the request names no container to share it with")
    return facts.find_container(other) or container_name(name=other.name, uuid=other.uuid or "")
