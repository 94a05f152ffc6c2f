"""The host's route to the metadata address, which lives in a container on Docker's bridge."""

from __future__ import annotations

import errno

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

log = structlog.get_logger(__name__)


def ensure_metadata_route(address: str, bridge: str) -> str:
    """Empty when the route is there now, else what stands in the way."""
    with IPRoute() as host:
        indexes = host.link_lookup(ifname=bridge)
        if not indexes:
            return f"there is no bridge {bridge}"
        try:
            host.route("add", dst=f"{address}/32", oif=indexes[0], scope="link")
        except NetlinkError as error:
            if error.code == errno.ENETDOWN:
                return f"bridge {bridge} is down"
            if error.code != errno.EEXIST:
                raise
            return _check(host, address, indexes[0], bridge)
        log.info("metadata.route.added", address=address, bridge=bridge)
    return ""


def remove_metadata_route(address: str, bridge: str) -> None:
    with IPRoute() as host:
        for index in host.link_lookup(ifname=bridge):
            try:
                host.route("del", dst=f"{address}/32", oif=index, scope="link")
            except NetlinkError as error:
                if error.code != errno.ESRCH:
                    raise


def host_addresses() -> list[str]:
    """The IPv4 addresses of this host that others can reach it at."""
    with IPRoute() as host:
        addresses = (each.get_attr("IFA_LOCAL") for each in host.get_addr(family=2))
        return sorted({each for each in addresses if each and not each.startswith("127.")})


def _check(host: IPRoute, address: str, index: int, bridge: str) -> str:
    for route in host.get_routes(family=2, dst=f"{address}/32"):
        if route.get_attr("RTA_OIF") not in (None, index):
            return f"the route to {address} leads to another interface than {bridge}: remove it or set DOCKER_BRIDGE"
    return ""
