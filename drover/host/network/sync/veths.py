"""Cables that no container uses any more. The kernel removes a cable with its namespace; what is left was kept alive.

A cable goes only on evidence: no running container has its name, twice in a row, and no process lives at its end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import structlog
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from drover.host.network.names import VETH_PREFIX, host_veth

log = structlog.get_logger(__name__)


class VethSweeper:
    """Remembers what looked unused the last time."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()

    def sweep(self, running: Iterable[str]) -> list[str]:
        """`running`: Docker ids of all running containers. Returns the names of the cables removed."""
        used = {host_veth(each) for each in running}
        with IPRoute() as host:
            ports = {
                str(link.get_attr("IFLA_IFNAME")): link
                for link in host.get_links()
                if str(link.get_attr("IFLA_IFNAME")).startswith(VETH_PREFIX) and link.get_attr("IFLA_MASTER")
            }
            unused = ports.keys() - used
            again, self._suspects = unused & self._suspects, set(unused)
            if not again:
                return []
            inhabited = _inhabited_namespaces(host)
            removed: list[str] = []
            for name in sorted(again):
                if ports[name].get_attr("IFLA_LINK_NETNSID") in inhabited:
                    continue
                try:
                    host.link("del", index=ports[name]["index"])
                except NetlinkError as error:
                    log.warning("veth.not.removed", interface=name, error=str(error))
                    continue
                removed.append(name)
                log.info("veth.removed", interface=name)
            return removed


def _inhabited_namespaces(host: IPRoute) -> set[int]:
    """The kernel's numbers of the network namespaces that processes live in, as this namespace numbers them."""
    seen: set[int] = set()
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            inode = os.stat(entry / "ns" / "net").st_ino  # noqa: PTH116 - the namespace behind the link
        except OSError:
            continue
        if inode in seen:
            continue
        seen.add(inode)
        try:
            # -1: this namespace has no number for that one, so none of our cables ends there.
            found.add(int(host.get_netnsid(pid=int(entry.name))["nsid"]))
        except NetlinkError as error:
            if error.code not in (errno.ESRCH, errno.EACCES, errno.EPERM):
                raise
    return found
