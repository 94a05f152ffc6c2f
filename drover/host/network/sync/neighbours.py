"""Neighbour entries of the host and its containers: who has an address of a managed network.

Addresses of other hosts are answered for by the local router, so when a container moves, or the router gets another
MAC, learned entries are wrong until they expire. Only entries that exist and are wrong are changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyroute2 import IPRoute

from drover.client.world import Container, World
from drover.host.network.names import INTERFACE, LABEL_ARP_SYNC
from drover.host.network.namespaces import inside_network, network_path
from drover.host.network.rules.networks import considered_running, local_routers

AF_INET = 2
NUD_FAILED_OR_INCOMPLETE = 0x20 | 0x01
NUD_PERMANENT = 0x80


def expected_neighbours(world: World) -> dict[str, str]:
    """Address -> MAC for running containers of networks whose router asks for it."""
    found: dict[str, str] = {}
    routers = {
        network: router
        for network, router in local_routers(world).items()
        if router.labels.get(LABEL_ARP_SYNC) == "true" and router.primary_mac_address
    }
    if not routers:
        return found
    for container in world.containers.values():
        router = routers.get(container.network_uuid or "")
        if router is None or not container.primary_ip or not considered_running(container):
            continue
        mac = _own_mac(container) if container.host_uuid == world.host else router.primary_mac_address
        if mac:
            found[container.primary_ip] = mac.lower()
    return found


def correct_host(expected: Mapping[str, str]) -> int:
    """Returns how many entries were wrong."""
    with IPRoute() as host:
        return _correct(host, expected)


def correct_containers(expected: Mapping[str, str], pids: Iterable[int]) -> int:
    """The same in the network namespaces of these processes; one that is gone is none of our business."""
    corrected = 0
    for pid in pids:
        try:
            with inside_network(network_path(pid)):
                inside = IPRoute()
        except OSError:
            continue
        with inside:
            corrected += _correct(inside, expected)
    return corrected


def correct_mac(pid: int, mac: str) -> bool:
    """Gives a container's interface its MAC; whether that was needed."""
    try:
        with inside_network(network_path(pid)):
            inside = IPRoute()
    except OSError:
        return False
    with inside:
        for link in inside.get_links():
            if link.get_attr("IFLA_IFNAME") == INTERFACE and link.get_attr("IFLA_ADDRESS") != mac.lower():
                inside.link("set", index=link["index"], address=mac)
                return True
    return False


def _correct(route: IPRoute, expected: Mapping[str, str]) -> int:
    corrected = 0
    for entry in route.get_neighbours(family=AF_INET):
        address, mac = entry.get_attr("NDA_DST"), entry.get_attr("NDA_LLADDR")
        right = expected.get(address or "")
        if not right or not mac or mac == right or entry["state"] & (NUD_FAILED_OR_INCOMPLETE | NUD_PERMANENT):
            continue
        route.neigh("replace", dst=address, lladdr=right, ifindex=entry["ifindex"], state="reachable")
        corrected += 1
    return corrected


def _own_mac(container: Container) -> str | None:
    # A sidekick shares the interface, and so the MAC, of the container whose network it uses.
    return None if container.network_from_container_uuid else container.primary_mac_address
