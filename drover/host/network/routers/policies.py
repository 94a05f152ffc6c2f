"""The kernel's IPsec policies for peers that encrypt in Rancher 1.6's form.

charon keeps one association a peer and installs no policies; the router installs them, three for each remote address,
and the template's end points choose the association. So a change of a container never touches IKE.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from drover.host.network.routers.connections import REQID
from drover.host.network.routers.iproute import KernelRefused, batch, checked
from drover.host.network.routers.overlay import Overlay, Remote

PRIORITY = 10000

_POLICY = re.compile(
    r"^src (?P<src>\S+) dst (?P<dst>\S+).*?\bdir (?P<dir>in|out|fwd) priority (?P<priority>\d+)"
    r".*?\btmpl src (?P<near>\S+) dst (?P<far>\S+).*?\breqid (?P<reqid>\d+)"
)


class Selector(NamedTuple):
    """What a policy applies to."""

    direction: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Template:
    """The ends of the association that a policy uses."""

    source: str
    target: str


Policies = Mapping[Selector, Template]


def policies(overlay: Overlay, compat: Callable[[Remote], bool]) -> dict[Selector, Template]:
    """The policies for the remote addresses whose host encrypts in the original's form."""
    place = overlay.place
    if place is None:
        return {}
    subnet, own = str(place.subnet), place.address
    wanted: dict[Selector, Template] = {}
    for remote in overlay.remotes.values():
        if compat(remote):
            address, host = f"{remote.ip}/32", remote.host_address
            wanted[Selector("out", subnet, address)] = Template(own, host)
            wanted[Selector("in", address, subnet)] = Template(host, own)
            wanted[Selector("fwd", address, subnet)] = Template(host, own)
    return wanted


def difference(before: Policies, after: Policies) -> list[str]:
    """Lines for `ip -batch`: what is not wanted goes first, then what is missing comes."""
    gone = [_line("delete", selector) for selector in before if selector not in after]
    come = [
        f"{_line('update', selector)} priority {PRIORITY} tmpl src {template.source} dst {template.target}"
        f" proto esp reqid {REQID} mode tunnel"
        for selector, template in after.items()
        if before.get(selector) != template
    ]
    return [*gone, *come]


def parse(listing: str) -> dict[Selector, Template]:
    """Our policies in the output of `ip -oneline xfrm policy`; those of others are left out."""
    found: dict[Selector, Template] = {}
    for line in listing.replace("\\", " ").splitlines():
        match = _POLICY.match(" ".join(line.split()))
        if match and int(match["reqid"]) == REQID and int(match["priority"]) == PRIORITY:
            found[Selector(match["dir"], match["src"], match["dst"])] = Template(match["near"], match["far"])
    return found


async def apply(wanted: Policies) -> int:
    """Make the kernel's policies those wanted; how many differed. Raises KernelRefused."""
    listing = await checked("ip", "-oneline", "xfrm", "policy", "list")
    lines = difference(parse(listing.decode(errors="replace")), wanted)
    failed = await batch("ip", lines)
    if failed:
        raise KernelRefused(f"{len(failed)} policies were refused, first: {failed[0]}")
    return len(lines)


def _line(command: str, selector: Selector) -> str:
    return f"xfrm policy {command} dir {selector.direction} src {selector.source} dst {selector.target}"
