"""The name servers of this container, from its resolv.conf."""

from __future__ import annotations

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
    barred = set(excluded)
    return tuple(dict.fromkeys(each for each in servers if each not in barred and not each.startswith("127.")))
