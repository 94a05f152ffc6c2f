"""An environment as its hosts see it: typed objects, the frames that carry them, and a replica kept current.

The server sends it to each host's metadata program, which passes it on to the other programs of its host; whoever
follows it holds a :class:`World` and hears of every change as a :class:`Delta`.
"""

from drover.client.world.frames import Change, Full, Key, decode_frame, encode_frame
from drover.client.world.objects import (
    Container,
    Environment,
    HealthCheck,
    Host,
    LbConfig,
    LbRule,
    Membership,
    Network,
    Object,
    Service,
    Stack,
    Stickiness,
)
from drover.client.world.world import Delta, World

__all__ = [
    "Change",
    "Container",
    "Delta",
    "Environment",
    "Full",
    "HealthCheck",
    "Host",
    "Key",
    "LbConfig",
    "LbRule",
    "Membership",
    "Network",
    "Object",
    "Service",
    "Stack",
    "Stickiness",
    "World",
    "decode_frame",
    "encode_frame",
]
