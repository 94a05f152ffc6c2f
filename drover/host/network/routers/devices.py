"""Per-interface switches that a container without write access to /proc/sys can set.

An unprivileged container sees /proc/sys read-only, but the kernel takes the same switches over netlink from whoever has
NET_ADMIN in the namespace: the IPv4 configuration of a link in its address-family attributes, the delay of proxied ARP
answers in the neighbour table's parameters. Checksum offload is an ioctl.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from enum import IntEnum
from ipaddress import IPv4Interface

from drover.host.network.routers.iproute import KernelRefused, checked, query
from drover.host.network.routers.overlay import OwnLink


class Ipv4(IntEnum):
    """Numbers of the per-interface IPv4 switches (linux/ip.h, IPV4_DEVCONF_*)."""

    FORWARDING = 1
    PROXY_ARP = 3
    ACCEPT_REDIRECTS = 4
    SEND_REDIRECTS = 6
    RP_FILTER = 8


_RTM_SETLINK = 19
_NLM_F_REQUEST_ACK = 0x1 | 0x4
_NLMSG_ERROR = 2
_IFLA_AF_SPEC = 26
_IFLA_INET_CONF = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


def set_ipv4(name: str, values: Mapping[Ipv4, int]) -> None:
    """Set IPv4 switches of one interface. Raises KernelRefused, for example without NET_ADMIN."""
    try:
        index = socket.if_nametoindex(name)
    except OSError as error:
        raise KernelRefused(
            f"there is no interface {name}: the network manager has not attached this container"
        ) from error
    attributes = b"".join(_attribute(number, struct.pack("=I", value)) for number, value in values.items())
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
    body += _attribute(_IFLA_AF_SPEC, _attribute(socket.AF_INET, _attribute(_IFLA_INET_CONF, attributes)))
    header = struct.pack("=IHHII", 16 + len(body), _RTM_SETLINK, _NLM_F_REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(5)
        netlink.bind((0, 0))
        netlink.send(header + body)
        answer = netlink.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    code = -struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else errno.EPROTO
    if code:
        raise KernelRefused(f"cannot configure IPv4 of {name}: {os.strerror(code)}; the router needs NET_ADMIN")


def set_checksum_offload(name: str, *, on: bool) -> None:
    """Whether checksums of what leaves may stay open until somebody further on the way fills them in, which is what
    lets large packets pass in one piece. Interfaces without such offload are left alone."""
    value = array.array("I", [_ETHTOOL_STXCSUM, int(on)])
    request = struct.pack("16sP", name.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise KernelRefused(f"cannot set checksum offload of {name}: {error.strerror}") from error


async def answer_for_remote_addresses(name: str) -> None:
    """Forward what arrives, and answer ARP at once for whatever is routed to another interface.

    The kernel's own proxy is used rather than a responder: it goes on answering while no program runs.
    """
    switches = {Ipv4.FORWARDING: 1, Ipv4.PROXY_ARP: 1, Ipv4.SEND_REDIRECTS: 0, Ipv4.ACCEPT_REDIRECTS: 0}
    await asyncio.to_thread(set_ipv4, name, switches)
    await checked("ip", "ntable", "change", "name", "arp_cache", "dev", name, "proxy_delay", "0")


async def read_own_link(name: str) -> OwnLink | None:
    """The interface with its first IPv4 address, or None while it is not there, not up or without an address."""
    links = await query("ip", "-json", "-4", "address", "show", "dev", name)
    if not links or "UP" not in links[0].get("flags", ()):
        return None
    link = links[0]
    address = next((each for each in link.get("addr_info", ()) if each.get("family") == "inet"), None)
    if address is None:
        return None
    macs = await query("ip", "-json", "link", "show", "dev", name)
    defaults = await query("ip", "-json", "-4", "route", "show", "default", "dev", name)
    return OwnLink(
        name=name,
        interface=IPv4Interface(f"{address['local']}/{address['prefixlen']}"),
        mac=str(macs[0].get("address", "")).lower() if macs else "",
        mtu=int(link["mtu"]),
        gateway=next((route["gateway"] for route in defaults if "gateway" in route), None),
    )


async def wait_for_own_link(name: str, *, pause: float = 0.2) -> OwnLink:
    """The interface, once the network manager has attached it. A container without it has nothing to route."""
    while True:
        link = await read_own_link(name)
        if link is not None:
            return link
        await asyncio.sleep(pause)


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)
