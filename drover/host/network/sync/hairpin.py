"""Hairpin mode on the bridge ports of containers that publish ports.

A container that calls its own published port gets the frame back through the port it came from. A bridge does that
only in hairpin mode; promiscuous mode, which the stock configuration asks for, is not enough on current kernels.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyroute2 import IPRoute

from drover.host.network.names import host_veth


def ensure_hairpin(containers: Iterable[str]) -> int:
    """`containers`: Docker ids. Returns how many ports had to be changed."""
    changed = 0
    with IPRoute() as host:
        wanted = {host_veth(each) for each in containers}
        if not wanted:
            return 0
        ports = {
            int(port["index"]): port
            for port in host.get_links()
            if port.get_attr("IFLA_IFNAME") in wanted and port.get_attr("IFLA_MASTER")
        }
        for index, port in ports.items():
            if not port.get_nested("IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_MODE"):
                host.brport("set", index=index, mode=1)
                changed += 1
    return changed
