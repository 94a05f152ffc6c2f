"""The name servers of this container, from its resolv.conf."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

PUBLIC = ("8.8.8.8", "8.8.4.4")
"""Asked when the file names nobody else, as in Rancher 1.6."""


def outside_servers(path: Path, *, excluded: Iterable[str]) -> tuple[str, ...]:
    """In the order of the file, without the excluded ones and without this machine itself."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return PUBLIC
    words = (line.split() for line in lines)
    listed = (each[1] for each in words if len(each) > 1 and each[0] == "nameserver")
    return usable(listed, excluded=excluded) or PUBLIC


def usable(servers: Iterable[str], *, excluded: Iterable[str]) -> tuple[str, ...]:
    """Those that are addresses of others: names and this machine itself are no name servers for us."""
    barred = set(excluded)
    return tuple(dict.fromkeys(each for each in servers if each not in barred and _is_elsewhere(each)))


def _is_elsewhere(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("#")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)
