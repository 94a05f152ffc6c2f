"""Where a container may run. Pure: hosts with their usage and a request in, a host or the reasons against out.

The server's allocator keeps the hosts current and asks here; a scheduler program outside of the server can ask with
hosts it learned elsewhere. Nothing here waits, reads or writes.
"""

from drover.placement.affinity import Affinity, Subject, affinities_of, fill_macros
from drover.placement.choose import Nowhere, Placement, Request, place, prioritize
from drover.placement.container import Container, HostPort, labels_of, parse_ports
from drover.placement.host import Host

__all__ = [
    "Affinity",
    "Container",
    "Host",
    "HostPort",
    "Nowhere",
    "Placement",
    "Request",
    "Subject",
    "affinities_of",
    "fill_macros",
    "labels_of",
    "parse_ports",
    "place",
    "prioritize",
]
