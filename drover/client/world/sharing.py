"""Equal values of many objects, kept once.

A decoded frame has a string of its own for every mention of a host, a network, a service or a state. With thousands
of containers that is a third of a replica, and every program of a host holds one.
"""

from __future__ import annotations

import sys
from typing import Any

from msgspec.structs import force_setattr

from drover.client.world.frames import Frame, Full
from drover.client.world.objects import Container

_STRINGS = ("environment_uuid", "health_state", "host_ip", "host_uuid", "network_uuid", "service_index", "state")
_TUPLES = ("dns", "dns_search", "memberships")
_LONGEST_LABEL = 64
"""Longer values (configurations, hashes) are hardly ever equal."""


def share(frame: Frame) -> Frame:
    """The same frame; its containers refer to one copy of what they have in common."""
    tuples: dict[Any, Any] = {}
    for each in frame.objects if isinstance(frame, Full) else frame.changed:
        if isinstance(each, Container):
            _share(each, tuples)
    return frame


def _share(container: Container, tuples: dict[Any, Any]) -> None:
    # The frame is new and nobody else's yet, and the values stay equal: frozen is not broken for anybody.
    for name in _STRINGS:
        value = getattr(container, name)
        if value is not None:
            force_setattr(container, name, sys.intern(value))
    for name in _TUPLES:
        value = getattr(container, name)
        force_setattr(container, name, tuples.setdefault(value, value))
    if container.ips == (container.primary_ip,):
        force_setattr(container, "ips", (container.primary_ip,))
    for key, value in container.labels.items():
        if len(value) <= _LONGEST_LABEL:
            container.labels[key] = sys.intern(value)
